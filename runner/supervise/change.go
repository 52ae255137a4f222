package supervise

import (
	"time"

	"golang.org/x/sync/errgroup"

	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

const changeLimit = 30 * time.Second // for one fault on one target

// change changes a fault that is in, on all of its targets at once.
func (r *run) change(in protocol.Change) error {
	r.mu.Lock()
	live, ok := r.faults[in.ID]
	open := r.method && !r.undoing
	r.mu.Unlock()
	switch {
	case !ok:
		return protocol.Errorf(protocol.CodeBad, "update: there is no fault %q", in.ID)
	case !open:
		return protocol.Errorf(protocol.CodeClosed, "update: the run is ending, nothing is changed any more")
	}
	n := len(live.handle.Targets)
	var all errgroup.Group
	for i, target := range live.handle.Targets {
		all.Go(func() error {
			part := protocol.Update{ID: report.PartID(in.ID, i, n), Params: in.Params}
			var out protocol.Updated
			if err := r.agent.call(r.ctx, changeLimit, protocol.CallUpdate, part, &out); err != nil {
				return err
			}
			r.journal.Record(journal.Changed{
				ID: part.ID, Kind: live.fault.Kind, Target: target, Params: in.Params, Pos: in.Pos, Findings: out.Findings,
			})
			return nil
		})
	}
	return all.Wait()
}

const maxTold = 1000 // remarks of faults, in one run

// told keeps a fault's remark.
func (r *run) told(in protocol.Told) {
	r.mu.Lock()
	r.remarks++
	n := r.remarks
	r.mu.Unlock()
	if n <= maxTold {
		r.journal.Record(journal.Told{ID: in.ID, Text: in.Text})
	}
}

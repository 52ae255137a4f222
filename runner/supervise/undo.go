package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

// undoAll orders the one undo of everything, which also closes the agent's
// epoch: nothing can be injected after it. Later calls wait for nothing; the
// end of the first is undoDone.
func (r *run) undoAll(reason string) {
	r.undoOnce.Do(func() {
		defer close(r.undoDone)
		r.mu.Lock()
		r.method, r.undoing = false, true
		r.mu.Unlock()
		r.journal.Record(journal.Undo{Reason: reason})
		failpoint.Hit("run-undo")
		var undone protocol.Undone
		err := r.agent.call(context.Background(), undoLimit, protocol.CallUndoAll, protocol.UndoAll{Reason: reason}, &undone)
		failpoint.Hit("run-undone")
		r.took(undone.Results)
		if err != nil {
			r.secondAgent(err)
		}
		r.mu.Lock()
		if r.capped != nil {
			r.capped.Stop()
		}
		for _, f := range r.faults {
			if f.timer != nil {
				f.timer.Stop()
			}
		}
		if r.last.IsZero() {
			r.last = time.Now()
		}
		r.mu.Unlock()
	})
}

// took records what became of faults, each once: an agent tells of an undo in
// an event and again in its answer.
func (r *run) took(results []protocol.UndoResult) {
	for _, u := range r.fresh(results) {
		for _, f := range u.Findings {
			if f.Failed {
				r.fail(u.Kind, fmt.Errorf("on %s: %s", u.Target.Name, f.Text))
			}
		}
	}
}

// fresh records results and returns those that are news.
func (r *run) fresh(results []protocol.UndoResult) (news []protocol.UndoResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range results {
		if old, known := r.results[u.ID]; known && (old.Error == "" || u.Error != "") {
			continue
		}
		r.results[u.ID] = u
		r.journal.Record(u)
		news = append(news, u)
		if u.Error == "" && u.Ended.After(r.last) {
			r.last = u.Ended
		}
	}
	for _, f := range r.faults {
		if !f.undone && r.allBack(f) {
			f.undone = true
			close(f.done)
		}
	}
	return news
}

// allBack says that every part of a fault was taken back. Called with mu held.
func (r *run) allBack(f *liveFault) bool {
	n := len(f.handle.Targets)
	for i := range n {
		u, known := r.results[report.PartID(f.handle.ID, i, n)]
		if !known || u.Error != "" {
			return false
		}
	}
	return true
}

// agentEvent takes the agent's events: what it took back by itself, and the
// end of its epoch.
func (r *run) agentEvent(event string, body json.RawMessage) {
	if !r.live.Load() {
		return // before anything could be injected
	}
	switch event {
	case protocol.EventUndone:
		var u protocol.UndoResult
		if protocol.Decode(body, &u) == nil {
			r.took([]protocol.UndoResult{u})
		}
	case protocol.EventTold:
		var t protocol.Told
		if protocol.Decode(body, &t) == nil {
			r.told(t)
		}
	case protocol.EventLost:
		var l protocol.Lost
		if protocol.Decode(body, &l) == nil {
			r.fail(l.Kind, fmt.Errorf("on %s it has stopped acting: %s", l.Target.Name, l.Error))
		}
	case protocol.EventEpoch:
		var e protocol.Epoch
		if protocol.Decode(body, &e) == nil && e.State != "open" && !r.undoOrdered() {
			r.finish(endedByAgent(e.Reason))
		}
	}
}

// endedByAgent is a run whose agent undid everything unasked: the red button
// reaches the agent by a signal; silence means that this process was stopped.
func endedByAgent(reason string) journal.Stopping {
	if strings.HasPrefix(reason, "signal") {
		return journal.Stopping{Ending: report.Interrupted, Reason: "the agent was told to end (" + reason + "), as by runner stop", Signal: "SIGTERM"}
	}
	return journal.Stopping{Ending: report.Failed, Reason: "the agent ended the run by itself: " + reason}
}

// undoOrdered says that the end of the epoch is our own doing.
func (r *run) undoOrdered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopping != nil || r.undoing
}

// undoSome takes back one fault: its duration has passed, or the script asked.
func (r *run) undoSome(f *liveFault, reason string) error {
	ids := make([]string, len(f.handle.Targets))
	for i := range ids {
		ids[i] = report.PartID(f.handle.ID, i, len(ids))
	}
	r.mu.Lock()
	done := f.undone
	r.mu.Unlock()
	if done {
		return nil
	}
	r.journal.Record(journal.Undo{IDs: ids, Reason: reason})
	failpoint.Hit("run-undo-one")
	var undone protocol.Undone
	err := r.agent.call(context.Background(), undoLimit, protocol.CallUndo, protocol.Undo{IDs: ids, Reason: reason}, &undone)
	r.took(undone.Results)
	if err != nil {
		return err
	}
	var stuck []error
	for _, u := range undone.Results {
		if u.Error != "" {
			stuck = append(stuck, fmt.Errorf("%s on %s could not be undone: %s", u.Kind, u.Target.Name, u.Error))
		}
	}
	return errors.Join(stuck...)
}

// closeAgent lets the agent end in order. Nothing is in any more; one that does
// not end has a ledger, which the next start settles.
func (r *run) closeAgent() {
	r.mu.Lock()
	lost := r.lost
	r.mu.Unlock()
	failpoint.Hit("run-close")
	if lost == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_ = r.agent.peer.Call(ctx, protocol.CallClose, nil, nil) // a dead agent has nothing to close
		cancel()
	}
	failpoint.Hit("run-closed")
	r.agent.end(endLimit)
	if heir := r.heir.Load(); heir != nil {
		_ = heir.settled(r.id) // if not, the next start finds a ledger with nothing in
		heir.end(5 * time.Second)
	}
}

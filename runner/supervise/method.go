package supervise

import (
	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

// runMethod runs the script's method() and waits, watching, for the faults
// that have a duration.
func (r *run) runMethod() {
	r.mu.Lock()
	if r.stopping != nil {
		r.mu.Unlock()
		return
	}
	r.method = true
	r.mu.Unlock()
	r.journal.Record(journal.Phase{Name: journal.PhaseMethod})

	failpoint.Hit("run-method")
	ended, err := r.worker.run(r.ctx, protocol.CallMethod, nil)
	failpoint.Hit("run-ended")
	r.mu.Lock()
	r.method = false
	r.mu.Unlock()
	switch {
	case r.ending(): // by an abort or a signal: what the script says to that is no news
		return
	case err != nil:
		r.fail("worker", err)
		return
	case ended.Error != nil:
		r.journal.Record(journal.Failure{Where: "method", Pos: ended.Error.Pos, Message: ended.Error.Message, Stack: ended.Error.Stack})
		r.finish(journal.Stopping{Ending: report.Failed, Reason: ended.Error.Error()})
		return
	case ended.Expect != nil:
		r.journal.Record(journal.False{Where: "method", Pos: ended.Expect.Pos, Message: ended.Expect.Message, Stack: ended.Expect.Stack})
		return // the method ends here; what it injected is taken back now
	}
	r.waitForDurations()
}

func (r *run) waitForDurations() {
	r.mu.Lock()
	var waiting []*liveFault
	for _, f := range r.faults {
		if f.fault.Duration > 0 {
			waiting = append(waiting, f)
		}
	}
	r.mu.Unlock()
	for _, f := range waiting {
		select {
		case <-f.done:
		case <-r.ctx.Done():
			return
		}
	}
}

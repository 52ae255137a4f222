package supervise

import (
	"errors"

	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
)

// finish ends the run early. Only the first reason counts. The undo is ordered
// here and now, on the caller's behalf, not by the script's leave.
func (r *run) finish(s journal.Stopping) {
	r.mu.Lock()
	first := r.stopping == nil
	if first {
		r.stopping = &s
	}
	r.method = false
	r.mu.Unlock()
	if !first {
		return
	}
	r.journal.Record(s)
	go r.undoAll(s.Ending)
	r.cancel(errors.New(s.Ending + ": " + s.Reason))
}

func (r *run) fail(where string, err error) {
	r.journal.Record(journal.Failure{Where: where, Message: err.Error()})
	r.finish(journal.Stopping{Ending: report.Failed, Reason: where + ": " + err.Error()})
}

func (r *run) interrupted(cause error) {
	var s Signal
	if !errors.As(cause, &s) {
		s = Signal{Name: "SIGTERM"}
	}
	r.finish(journal.Stopping{Ending: report.Interrupted, Reason: s.Error(), Signal: s.Name})
	r.hurried.Do(func() { close(r.hurry) }) // a signal during the recovery ends the watching
}

// watchJournal ends the run when its evidence can no longer be written.
func (r *run) watchJournal() {
	select {
	case <-r.journal.Failed():
		r.opt.warn("the journal cannot be written, the run ends: %v", r.journal.Err())
		r.finish(journal.Stopping{Ending: report.Failed, Reason: r.journal.Err().Error()})
	case <-r.ctx.Done():
	}
}

func (r *run) ending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopping != nil
}

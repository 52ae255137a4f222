package supervise

import (
	"context"
	"errors"
	"time"

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

const rollbackLimit = 30 * time.Second // for one rollback function of the script

// register puts a script's rollback on the agent's disk before it is needed.
func (r *run) register(ctx context.Context, in protocol.Rollback) error {
	if err := r.agent.call(ctx, 10*time.Second, protocol.CallRollback, in, nil); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rollbacks = append(r.rollbacks, in)
	return nil
}

// runRollbacks runs the script's rollback functions, last registered first,
// each whatever became of the others, on a fresh worker where the first is
// gone.
func (r *run) runRollbacks() {
	keeper, todo := r.rollbacksLeft()
	for i := len(todo) - 1; i >= 0; i-- {
		err := r.rollBack(todo[i])
		failpoint.Hit("run-rolled")
		event := journal.Rollback{ID: todo[i].ID, Func: todo[i].Func}
		done := protocol.Rolled{ID: todo[i].ID, Run: r.id}
		if err != nil {
			event.Error, done.Error = err.Error(), err.Error()
		}
		r.journal.Record(event)
		if err != nil {
			r.finish(journal.Stopping{Ending: report.Failed, Reason: "rollback " + todo[i].Func + ": " + err.Error()})
		}
		if err := keeper.call(context.Background(), 5*time.Second, protocol.CallRolled, done, nil); err != nil {
			r.opt.warn("rollback %s has run, but the ledger does not say so: %v", todo[i].Func, err)
		}
	}
}

func (r *run) rollBack(record protocol.Rollback) error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackLimit)
	defer cancel()
	if r.worker == nil || !r.worker.alive() {
		fresh, err := startWorker(r.opt, rollbackServer{server{r}, record})
		if err != nil {
			return err
		}
		if _, err := fresh.load(ctx, protocol.Load{
			Script: record.Module, Mode: protocol.RollOnly, Params: record.Params, Seed: record.Seed,
		}); err != nil {
			fresh.end()
			return err
		}
		r.worker = fresh
	}
	failpoint.Hit("run-rollback")
	ended, err := r.worker.run(ctx, protocol.CallRoll, protocol.Roll{ID: record.ID, Module: record.Module, Func: record.Func, Args: record.Args})
	switch {
	case err != nil:
		return err
	case ended.Error != nil:
		return errors.New(ended.Error.Error())
	case ended.Expect != nil:
		return errors.New(ended.Expect.Error())
	}
	return nil
}

package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

const (
	rollbackLimit = 30 * time.Second // for one rollback function of the script
	keepLimit     = 10 * time.Second // for one record of it on the agent's disk
)

// register puts a script's rollback on the agent's disk before it is needed. It
// counts from the asking on: whether an answer that does not come would have
// been yes, the agent says when the rollback is to begin.
func (r *run) register(ctx context.Context, in protocol.Rollback) error {
	in.Secrets = r.opt.Secrets // where the values are, for whoever runs it when this process is gone
	r.mu.Lock()
	r.rollbacks = append(r.rollbacks, in)
	r.mu.Unlock()
	return r.agent.call(ctx, keepLimit, protocol.CallRollback, in, nil)
}

// runRollbacks runs the script's rollback functions, last registered first,
// each whatever became of the others. Their keeper is an agent; where that is
// lost another goes on, with what the ledger says.
func (r *run) runRollbacks() {
	const keepers = 3
	for n := 1; ; n++ {
		keeper, todo := r.rollbacksLeft()
		lost := r.rollAll(keeper, todo)
		if lost == nil {
			return
		}
		if n == keepers {
			r.journal.Record(journal.Failure{Where: "rollback", Message: fmt.Sprintf("%v; run: runner recover", lost)})
			return
		}
		r.secondAgent(lost)
	}
}

// rollAll goes on past rollbacks that fail; the error is the keeper's.
func (r *run) rollAll(keeper *agent, todo []protocol.Rollback) error {
	for _, record := range slices.Backward(todo) {
		ended, known := r.rolled[record.ID] // and its keeper was lost before it was on record
		if !known {
			err := keeper.rolling(record.ID, r.id)
			if protocol.CodeOf(err) == protocol.CodeBad {
				continue // it never came to the ledger, or others have run it
			}
			if err != nil {
				return err
			}
			err = r.rollBack(record)
			failpoint.Hit("run-rolled")
			ended = journal.Rollback{ID: record.ID, Func: record.Func}
			if err != nil {
				ended.Error = err.Error()
			}
			r.rolled[record.ID] = ended
			r.journal.Record(ended)
		}
		if ended.Error != "" {
			r.finish(journal.Stopping{Ending: report.Failed, Reason: "rollback " + record.Func + ": " + ended.Error})
		}
		if err := keeper.ran(ended, r.id); err != nil {
			return err
		}
	}
	return nil
}

// rolling has the ledger say that a rollback begins.
func (a *agent) rolling(id, run string) error {
	return a.call(context.Background(), keepLimit, protocol.CallRolling, protocol.Rolled{ID: id, Run: run}, nil)
}

// ran has the ledger say that a rollback has run. That others have said so is
// no error.
func (a *agent) ran(ended journal.Rollback, run string) error {
	err := a.call(context.Background(), keepLimit, protocol.CallRolled, protocol.Rolled{ID: ended.ID, Run: run, Error: ended.Error}, nil)
	if protocol.CodeOf(err) == protocol.CodeBad {
		return nil
	}
	return err
}

// rollBack runs a rollback; once more, on a fresh worker, if its worker was
// taken from it.
func (r *run) rollBack(record protocol.Rollback) error {
	lost, err := r.tryBack(record)
	if lost {
		_, err = r.tryBack(record)
	}
	return err
}

// tryBack runs a rollback, on a fresh worker where the first is gone.
func (r *run) tryBack(record protocol.Rollback) (lost bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackLimit)
	defer cancel()
	if r.worker == nil || !r.worker.alive() {
		fresh, err := startWorker(r.opt, rollbackServer{server{r}, record})
		if err != nil {
			return false, err
		}
		if _, err := fresh.load(ctx, protocol.Load{
			Script: record.Module, Mode: protocol.RollOnly, Params: record.Params, Seed: record.Seed,
		}); err != nil {
			fresh.end()
			return fresh.lost.Load(), err
		}
		r.worker = fresh
	}
	failpoint.Hit("run-rollback")
	ended, err := r.worker.run(ctx, protocol.CallRoll, protocol.Roll{ID: record.ID, Module: record.Module, Func: record.Func, Args: record.Args})
	switch {
	case err != nil:
		return r.worker.lost.Load(), err
	case ended.Error != nil:
		return false, errors.New(ended.Error.Error())
	case ended.Expect != nil:
		return false, errors.New(ended.Expect.Error())
	}
	return false, nil
}

// rollDead runs the rollback functions of a dead run, last registered first,
// each on a fresh worker from the copy in the ledger. The error is that of the
// agent which keeps account of them: what has not begun waits for another.
func (r *run) rollDead(dead protocol.Abandoned) (done []journal.Rollback, err error) {
	if len(dead.Rollbacks) == 0 {
		return nil, nil
	}
	old := &run{opt: r.opt, agent: r.agent, exp: declaredBy(dead)}
	old.inheritSecrets(dead)
	defer func() {
		if old.worker != nil {
			old.worker.end()
		}
	}()
	for _, raw := range slices.Backward(dead.Rollbacks) {
		var record protocol.Rollback
		unread := json.Unmarshal(raw, &record)
		err := r.agent.rolling(record.ID, dead.Run)
		if protocol.CodeOf(err) == protocol.CodeBad {
			continue // others have run it
		}
		if err != nil {
			return done, fmt.Errorf("the rollbacks of the dead run %s are not done: %w; run: runner recover", dead.Run, err)
		}
		if slices.Contains(dead.Begun, record.ID) {
			r.opt.warn("rollback %s of the dead run %s had begun when that died, and runs again", record.Func, dead.Run)
		}
		event := journal.Rollback{ID: record.ID, Func: record.Func}
		if unread == nil {
			unread = old.rollBack(record)
		}
		if unread != nil {
			event.Error = unread.Error()
			r.opt.warn("rollback %s of the dead run %s: %v", record.Func, dead.Run, unread)
		}
		done = append(done, event)
		if err := r.agent.ran(event, dead.Run); err != nil {
			return done, fmt.Errorf("rollback %s of the dead run %s has run, but the ledger does not say so: %w", record.Func, dead.Run, err)
		}
	}
	return done, nil
}

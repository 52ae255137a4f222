package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

// insistLimit is how long new agents are started, until one takes back what the
// first has left: as long as an undo insists.
const insistLimit = 30 * time.Second

// secondAgent takes back what a dead or wedged agent left, from its ledger. One
// that dies of it too is followed by another. The last stays until the run ends:
// it keeps the ledger for the script's rollbacks.
func (r *run) secondAgent(cause error) {
	cause = errors.Join(cause, r.present().kill())
	r.journal.Record(journal.Failure{Where: "agent", Message: cause.Error()})
	r.finish(journal.Stopping{Ending: report.Failed, Reason: "agent: " + cause.Error()})
	hello := r.hello()
	hello.Mode = protocol.ModeRecover
	began := time.Now()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		failpoint.Hit("run-second")
		ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
		second, err := startAgent(ctx, r.opt.Agent, hello, nil)
		cancel()
		if err == nil {
			r.heir.Store(second)
			for _, dead := range r.inherited(second) {
				r.took(dead.Results)
			}
			return
		}
		message := fmt.Sprintf("a second agent could not undo what the first left: %v", err)
		if time.Since(began) > insistLimit {
			r.journal.Record(journal.Failure{Where: "agent", Message: message + "; run: runner recover"})
			return
		}
		r.journal.Record(journal.Failure{Where: "agent", Message: message + "; another is started"})
		time.Sleep(pause)
	}
}

// inherited is what the heir has found of this run. That is nothing where a
// recover or the next run was faster, and has settled all of it.
func (r *run) inherited(heir *agent) (found []protocol.Abandoned) {
	for _, dead := range heir.welcome.Recovered {
		if dead.Run == r.id {
			found = append(found, dead)
		}
	}
	return found
}

// present is the agent that can be asked something.
func (r *run) present() *agent {
	if heir := r.heir.Load(); heir != nil {
		return heir
	}
	return r.agent
}

// rollbacksLeft has the script's rollbacks that have yet to run, in the order of
// their registration, and the agent that keeps account of them. After the loss
// of an agent the ledger knows which they are: others may have run them.
func (r *run) rollbacksLeft() (keeper *agent, left []protocol.Rollback) {
	heir := r.heir.Load()
	if heir == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.agent, r.rollbacks
	}
	for _, dead := range r.inherited(heir) {
		for _, raw := range dead.Rollbacks {
			var record protocol.Rollback
			if err := json.Unmarshal(raw, &record); err != nil {
				r.journal.Record(journal.Failure{Where: "rollback", Message: fmt.Sprintf("its record in the ledger cannot be read: %v", err)})
				continue
			}
			left = append(left, record)
		}
	}
	return heir, left
}

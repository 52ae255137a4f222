package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
)

// appendEvents adds to a dead run's journal what became of its faults. A last
// line that was cut off is ended first.
func appendEvents(dead protocol.Abandoned, rolled []journal.Rollback, events []journal.Event) (late []journal.Event, err error) {
	now := time.Now()
	at := now.Sub(events[0].T).Seconds() // the wall clock: the monotonic one died with the run
	for _, u := range dead.Results {
		late = append(late, journal.Event{T: now, At: at, Kind: "undone", Data: u})
	}
	for _, d := range rolled {
		late = append(late, journal.Event{T: now, At: at, Kind: "rollback", Data: d})
	}
	late = append(late, journal.Event{T: now, At: at, Kind: "failure", Data: journal.Failure{
		Where: "supervisor", Message: "it died before the run ended; this end was written by a later start",
	}})
	path := filepath.Join(dead.Header.OutDir, "journal.jsonl")
	old, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if whole := bytes.LastIndexByte(old, '\n') + 1; whole < len(old) {
		if err := file.Truncate(int64(whole)); err != nil {
			return nil, fmt.Errorf("cut off the torn last line: %w", err)
		}
	}
	var buf bytes.Buffer
	for _, e := range late {
		line, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		buf.Write(append(line, '\n'))
	}
	_, err = file.Write(buf.Bytes())
	return late, err
}

// Recover undoes what dead runs left on the engine and settles their logs.
func Recover(ctx context.Context, opt Options) ([]protocol.Abandoned, error) {
	r := &run{opt: opt, id: "recover"}
	hello := r.hello()
	hello.Mode, hello.Run, hello.Header = protocol.ModeRecover, "", protocol.RunHeader{}
	for n := 1; ; n++ {
		var err error
		var lost *lostError
		if r.agent, err = startAgent(ctx, opt.Agent, hello, nil); err == nil {
			break
		}
		if n == recoverTries || !errors.As(err, &lost) || ctx.Err() != nil {
			return nil, err
		}
		opt.warn("%v; another agent is started", err)
	}
	defer r.agent.end(endLimit)
	return r.agent.welcome.Recovered, r.settleDead()
}

// recoverTries is how many agents a recover starts that die on it.
const recoverTries = 3

// settled has the agent remove the ledger of a dead run of which nothing is left.
func (a *agent) settled(run string) error {
	return a.call(context.Background(), keepLimit, protocol.CallSettled, protocol.Settled{Run: run}, nil)
}

// settleDead finishes what is left of dead runs once their faults are undone:
// the script's own rollbacks, then journal, result and log entry. The error says
// which rollbacks wait for another start.
func (r *run) settleDead() (failed error) {
	for _, dead := range r.agent.welcome.Recovered {
		done, err := r.rollDead(dead)
		failed = errors.Join(failed, err)
		if err := settleAbandoned(dead, done); err != nil {
			r.opt.warn("the log entry of the dead run %s: %v", dead.Run, err)
		}
		failpoint.Hit("run-settled")
		if err := r.agent.settled(dead.Run); err != nil {
			r.opt.warn("the ledger of the dead run %s is told of again: %v", dead.Run, err)
		}
	}
	return failed
}

// declaredBy is what a dead run had declared, for what its rollbacks may probe.
func declaredBy(dead protocol.Abandoned) (exp spec.Experiment) {
	events, err := readJournal(dead.Header.OutDir)
	if err != nil {
		return exp // its rollbacks may still do whatever needs no declaration
	}
	for _, e := range events {
		if d, ok := e.Data.(spec.Experiment); ok {
			return d
		}
	}
	return exp
}

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

// The states of the one epoch. It never goes back.
const (
	fresh   = "fresh" // before the hello has been answered
	open    = "open"
	undoing = "undoing"
	closed  = "closed"
)

// An agent is one process's whole state.
type agent struct {
	peer *protocol.Peer

	// Set by the hello, and not changed once greeted is closed.
	greeted chan struct{}
	run     string
	engine  *engine
	mender  *mender
	finder  *finder
	policy  *policy.Policy // the operator's; see rules
	fetcher *fetcher
	heart   *heart
	book    *ledger.Ledger // nil but in a run
	claims  *claims        // nil where the engine is not shared
	left    []*dead        // ledgers of dead runs, kept for their script rollbacks

	applying context.Context // ends with the open epoch, and every apply with it
	cut      context.CancelCauseFunc
	work     sync.WaitGroup // a hello's undo of what dead runs left, which outlives the link
	hello    atomic.Bool

	mu        sync.Mutex
	epoch     string
	lock      *ledger.Lock
	charges   []*charge                      // in the order of their intents
	rollbacks map[string]string              // id → waiting, running or ran
	results   map[string]protocol.UndoResult // of the undo of everything
	undone    chan struct{}                  // closed when the epoch is

	sweep   sync.Mutex // one undo of everything at a time
	scripts sync.Mutex // one record of a script's rollback at a time
}

func newAgent() *agent {
	a := &agent{
		greeted: make(chan struct{}), epoch: fresh, undone: make(chan struct{}),
		rollbacks: map[string]string{}, results: map[string]protocol.UndoResult{}, heart: &heart{},
	}
	a.applying, a.cut = context.WithCancelCause(context.Background())
	return a
}

// Handle implements protocol.Handler.
func (a *agent) Handle(ctx context.Context, call string, body json.RawMessage) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil { // the faults that are in must still come out
			err = fmt.Errorf("agent: panic in %s: %v\n%s", call, p, debug.Stack())
		}
	}()
	switch call {
	case protocol.CallHello:
		return with(body, func(in protocol.Hello) (any, error) { return a.greet(ctx, in) })
	case protocol.CallHeartbeat:
		a.heart.beat()
		return nil, nil
	case protocol.CallUndoAll:
		return with(body, func(in protocol.UndoAll) (any, error) {
			return protocol.Undone{Results: a.undoAll(in.Reason, true)}, nil
		})
	}
	select {
	case <-a.greeted:
	default:
		return nil, protocol.Errorf(protocol.CodeBad, "agent: got %s before the hello was answered", call)
	}
	switch call {
	case protocol.CallResolve:
		return with(body, func(in protocol.Resolve) (any, error) { return a.finder.resolve(ctx, in) })
	case protocol.CallDescribe:
		return with(body, func(in protocol.Apply) (any, error) { return a.describe(ctx, in) })
	case protocol.CallApply:
		return with(body, func(in protocol.Apply) (any, error) { return a.apply(ctx, in) })
	case protocol.CallUpdate:
		return with(body, func(in protocol.Update) (any, error) { return a.update(ctx, in) })
	case protocol.CallUndo:
		return with(body, func(in protocol.Undo) (any, error) { return a.undo(in) })
	case protocol.CallFetch:
		return with(body, func(in protocol.Fetch) (any, error) { return a.fetcher.fetch(ctx, in) })
	case protocol.CallLogs:
		return with(body, func(in protocol.Tail) (any, error) { return a.engine.tail(ctx, in) })
	case protocol.CallQuery:
		return with(body, func(in protocol.Query) (any, error) { return a.query(ctx, in) })
	case protocol.CallAddress:
		return with(body, func(in protocol.Address) (any, error) { return a.engine.address(ctx, in) })
	case protocol.CallRollback:
		return with(body, func(in protocol.Rollback) (any, error) { return nil, a.keep(in, body) })
	case protocol.CallRolling:
		return with(body, func(in protocol.Rolled) (any, error) { return nil, a.rolling(in) })
	case protocol.CallRolled:
		return with(body, func(in protocol.Rolled) (any, error) { return nil, a.rolled(in) })
	case protocol.CallSettled:
		return with(body, func(in protocol.Settled) (any, error) { return nil, a.settled(in) })
	case protocol.CallClose:
		return nil, a.close()
	}
	return nil, protocol.Errorf(protocol.CodeUnknown, "agent: unknown call %q", call)
}

// Event implements protocol.Handler; a supervisor sends none.
func (a *agent) Event(string, json.RawMessage) {}

func with[T any](body json.RawMessage, f func(T) (any, error)) (any, error) {
	var in T
	if err := protocol.Decode(body, &in); err != nil {
		return nil, err
	}
	return f(in)
}

// close ends the run in order: the ledger is removed if nothing is left of it.
func (a *agent) close() error {
	a.undoAll("close", false)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.book == nil {
		return nil
	}
	var why []error
	for _, c := range a.charges {
		if !c.out.Load() {
			why = append(why, fmt.Errorf("fault %s is stuck: %s", c.ID, a.results[c.ID].Error))
		}
	}
	for id, state := range a.rollbacks {
		if state != ran {
			why = append(why, fmt.Errorf("rollback %s has not run", id))
		}
	}
	if len(why) > 0 {
		return fmt.Errorf("agent: the ledger stays at %s for `runner recover`: %w", a.book.Path(), errors.Join(why...))
	}
	failpoint.Hit("before-remove")
	return a.book.Remove()
}

// stuck says whether anything could not be taken back.
func (a *agent) stuck() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.charges, func(c *charge) bool { return !c.out.Load() })
}

// end lets go of everything, after the epoch has ended.
func (a *agent) end() int {
	a.work.Wait()
	select {
	case <-a.peer.Done(): // nobody listens any more
	default:
		a.peer.Flush(200 * time.Millisecond)
	}
	if a.book != nil {
		_ = a.book.Close() // the process ends anyway
	}
	if a.stuck() {
		return 6
	}
	return 0
}

func errClosed() error {
	return protocol.Errorf(protocol.CodeClosed, "agent: this run's epoch is over: everything is undone and nothing is injected any more")
}

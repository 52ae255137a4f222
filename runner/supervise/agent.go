package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"chaosrunner/runner/protocol"
)

const (
	answerLimit = time.Second      // a heartbeat without an answer: the agent is wedged
	helloLimit  = 2 * time.Minute  // undoing what dead runs left comes before the welcome
	helloBeat   = 15 * time.Second // a heartbeat without an answer before the welcome
	endLimit    = 10 * time.Second // from the end of the link to the agent's, once nothing is in
	undoLimit   = 90 * time.Second // for everything; each undo has a deadline of its own in the agent
	applyLimit  = 6 * time.Minute  // the longest grace of a stop, and the engine's own time
)

// A Process is an agent's, wherever it runs. Reading is its stdout, writing its
// stdin, and Close makes EOF there, which is an undo-all; so must the death of
// this process.
type Process interface {
	io.ReadWriteCloser
	// Kill ends it at once, undone or not: by pidfd where it is a child of ours,
	// through the engine's API where it is a container, which has no pidfd for us
	// to hold; there its id is as good. The error says that it may live on.
	Kill() error
	// Done is closed once its end was seen.
	Done() <-chan struct{}
	// LastWords is what it said on stderr last.
	LastWords() string
}

// agent is the supervisor's end of the link to the process that touches the
// world.
type agent struct {
	proc    Process
	peer    *protocol.Peer
	welcome protocol.Welcome

	mu      sync.Mutex
	beats   uint64
	waiting time.Time     // when the oldest unanswered heartbeat was sent; zero: none
	exited  chan struct{} // closed once it has ended and all it said was read
}

// startAgent has an agent started and greets it. events are called on the
// link's goroutine.
func startAgent(ctx context.Context, start func(context.Context) (Process, error), hello protocol.Hello, events func(event string, body json.RawMessage)) (*agent, error) {
	ctx, expired := context.WithTimeout(ctx, helloLimit)
	defer expired()
	proc, err := start(ctx)
	if err != nil {
		return nil, err
	}
	a := &agent{proc: proc, exited: make(chan struct{})}
	a.peer = protocol.NewPeer(proc, proc, agentEvents(events))
	go func() {
		_ = a.peer.Run(context.WithoutCancel(ctx)) // calls are told of a broken link
		<-proc.Done()
		close(a.exited)
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go a.watchHello(ctx, cancel)
	if err := a.peer.Call(ctx, protocol.CallHello, hello, &a.welcome); err != nil {
		a.end(time.Second)
		if protocol.CodeOf(err) == "" { // else it has answered
			return nil, &lostError{a.explain(err)}
		}
		return nil, err
	}
	return a, nil
}

// A lostError says that an agent died or stood still, whatever it was asked for.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// watchHello ends the wait for the welcome of an agent that stands still: one
// that undoes what dead runs left answers heartbeats meanwhile.
func (a *agent) watchHello(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(answerLimit / 2)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(last) > answerLimit {
				a.forgive() // this process stood still itself
			}
			last = now
			if a.wedged(now, helloBeat) {
				cancel(fmt.Errorf("agent: no answer to a heartbeat for %s, before its welcome", helloBeat))
				return
			}
			a.beat()
		}
	}
}

type agentEvents func(event string, body json.RawMessage)

func (agentEvents) Handle(_ context.Context, call string, _ json.RawMessage) (any, error) {
	return nil, protocol.Errorf(protocol.CodeUnknown, "supervisor: the agent makes no calls, got %q", call)
}

func (f agentEvents) Event(event string, body json.RawMessage) {
	if f != nil {
		f(event, body)
	}
}

// explain adds the agent's last words to an error where the link broke.
func (a *agent) explain(err error) error {
	if !errors.Is(err, protocol.ErrClosed) {
		return err
	}
	if said := strings.TrimSpace(a.proc.LastWords()); said != "" {
		return fmt.Errorf("agent: it died: %s", said)
	}
	return fmt.Errorf("agent: it died: %w", err)
}

// beat sends the watcher's sign of life. It does not wait for the answer.
func (a *agent) beat() {
	a.mu.Lock()
	a.beats++
	n, now := a.beats, time.Now()
	if a.waiting.IsZero() {
		a.waiting = now
	}
	a.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*answerLimit)
		defer cancel()
		if err := a.peer.Call(ctx, protocol.CallHeartbeat, protocol.Beat{N: n}, nil); err == nil {
			a.mu.Lock()
			a.waiting = time.Time{}
			a.mu.Unlock()
		}
	}()
}

// wedged says that the agent has left a heartbeat without an answer for too
// long, counted on the watcher's own clock: since is when the watcher last
// ran, so that a supervisor that was stopped does not blame its agent.
func (a *agent) wedged(now time.Time, limit time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.waiting.IsZero() && now.Sub(a.waiting) > limit
}

// forgive forgets an unanswered heartbeat.
func (a *agent) forgive() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = time.Time{}
}

// kill ends the agent at once. What the kernel holds for it goes with it; the
// rest is undone from its ledger.
func (a *agent) kill() error {
	if err := a.proc.Kill(); err != nil {
		return err
	}
	<-a.exited
	return nil
}

// end closes the link, which makes the agent undo whatever is left, and waits
// for its process; a process that does not end in time is killed.
func (a *agent) end(grace time.Duration) {
	_ = a.proc.Close() // EOF is the message; the pipe may be broken already
	select {
	case <-a.exited:
	case <-time.After(grace):
		_ = a.kill() // whatever lives on has a ledger, and recover says so
	}
}

// call asks the agent, with a limit.
func (a *agent) call(ctx context.Context, limit time.Duration, name string, in, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer from the agent within %s", limit))
	defer cancel()
	return a.explain(a.peer.Call(ctx, name, in, out))
}

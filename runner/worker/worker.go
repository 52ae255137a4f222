// Package worker is the process that interprets a script and can do nothing
// else.
//
//	supervisor ──load, method, roll──▶ worker ──▶ builtins.Session
//	supervisor ◀──source, fault, observe, …──┘      (the session's World is the link)
//
// It enters its cage before it reads a byte, and ends with the link: what the
// script is doing then is stopped.
package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"chaosrunner/builtins"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/worker/cage"
)

// Options are what a worker is made with.
type Options struct {
	CheckSLI func(spec.SLI) error     // says what is wrong with an SLI's PromQL; may be nil
	Enter    func() ([]string, error) // into the cage; nil: cage.Enter
	Signals  <-chan os.Signal         // end the worker; nil: SIGTERM to the process
}

// Exit codes. 2 is what Go's fatal errors give.
const (
	exitDone   = 0
	exitFailed = 1
	exitTerm   = 128 + int(syscall.SIGTERM)
)

// lastWords is how long a stopped script may take to say how it ended.
const lastWords = 300 * time.Millisecond

// Main is the hidden subcommand "worker". It serves one supervisor over in and
// out until in ends, and returns the exit code.
func Main(in io.Reader, out io.Writer, opt Options) int {
	signals := opt.Signals
	if signals == nil { // before the cage, which has no way to ask for them
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		defer signal.Stop(c)
		signals = c
	}
	enter := opt.Enter
	if enter == nil {
		enter = func() ([]string, error) { return cage.Enter(cage.Options{}) }
	}
	rings, err := enter()
	if err != nil {
		fmt.Fprintf(os.Stderr, "worker: %v\n", err)
		return exitFailed
	}
	w := &worker{opt: opt, rings: rings}
	w.peer = protocol.NewPeer(in, out, w)
	ended := make(chan error, 1)
	go func() { ended <- w.peer.Run(context.Background()) }()
	select {
	case err := <-ended:
		w.stop()
		if err != nil {
			fmt.Fprintf(os.Stderr, "worker: %v\n", err)
			return exitFailed
		}
		return exitDone
	case <-signals:
		w.stop()
		return exitTerm
	}
}

// worker answers the supervisor's calls, one at a time.
type worker struct {
	opt   Options
	rings []string
	peer  *protocol.Peer

	busy sync.Mutex // held while the script has the word

	mu      sync.Mutex
	session *builtins.Session
	stopped bool
}

// Event implements protocol.Handler. A supervisor sends none.
func (w *worker) Event(string, json.RawMessage) {}

// Handle implements protocol.Handler.
func (w *worker) Handle(ctx context.Context, call string, body json.RawMessage) (any, error) {
	if !w.busy.TryLock() {
		return nil, protocol.Errorf(protocol.CodeBusy, "worker: got %s while the script has the word", call)
	}
	defer w.busy.Unlock()
	switch call {
	case protocol.CallLoad:
		var in protocol.Load
		if err := protocol.Decode(body, &in); err != nil {
			return nil, err
		}
		return w.load(ctx, in)
	case protocol.CallMethod:
		s, err := w.loaded(call)
		if err != nil {
			return nil, err
		}
		return s.Method(), nil
	case protocol.CallRoll:
		var in protocol.Roll
		if err := protocol.Decode(body, &in); err != nil {
			return nil, err
		}
		s, err := w.loaded(call)
		if err != nil {
			return nil, err
		}
		return s.Roll(in), nil
	case protocol.CallCheck:
		var in protocol.Check
		if err := protocol.Decode(body, &in); err != nil {
			return nil, err
		}
		s, err := w.loaded(call)
		if err != nil {
			return nil, err
		}
		return s.Check(in), nil
	}
	return nil, protocol.Errorf(protocol.CodeUnknown, "worker: got an unknown call %q", call)
}

func (w *worker) load(ctx context.Context, in protocol.Load) (protocol.Loaded, error) {
	s := builtins.New(ctx, builtins.Config{Load: in, CheckSLI: w.opt.CheckSLI}, link{w.peer})
	w.mu.Lock()
	again, stopped := w.session != nil, w.stopped
	if !again {
		w.session = s
	}
	w.mu.Unlock()
	switch {
	case again:
		return protocol.Loaded{}, protocol.Errorf(protocol.CodeBad, "worker: a script is loaded already: one worker, one script")
	case stopped:
		s.Cancel("the worker was told to end")
	}
	exp, errs := s.Load()
	return protocol.Loaded{Experiment: exp, Errors: errs, Rings: w.rings}, nil
}

func (w *worker) loaded(call string) (*builtins.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.session == nil {
		return nil, protocol.Errorf(protocol.CodeBad, "worker: got %s before load", call)
	}
	return w.session, nil
}

// stop ends what the script does, and waits a moment for it. The link's end
// alone would end its calls, and not its computing.
func (w *worker) stop() {
	w.mu.Lock()
	w.stopped = true
	s := w.session
	w.mu.Unlock()
	if s != nil {
		s.Cancel("the worker was told to end")
	}
	quiet := make(chan struct{})
	go func() {
		w.busy.Lock()
		close(quiet)
	}()
	select {
	case <-quiet:
	case <-time.After(lastWords): // a builtin of the interpreter that does not look up
	}
}

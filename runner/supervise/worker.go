package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/worker/cage"
)

const (
	thinkLimit  = 15 * time.Second // of computing without a call, unless told otherwise: the script hangs
	cancelGrace = time.Second      // from SIGTERM to SIGKILL
)

// worker is the supervisor's end of the link to the process that interprets
// the script.
type worker struct {
	child *cage.Child
	peer  *protocol.Peer
	rings []string

	limit    time.Duration // of computing without a call
	thinking atomic.Int64  // when the script was last given the word, as Unix ns
	calls    atomic.Int32  // of the worker, that are being answered: then it waits for us
	lost     atomic.Bool   // its process has ended, not by our doing
	endOnce  sync.Once
}

// startWorker runs exe as a worker whose calls h answers.
func startWorker(opt Options, h protocol.Handler) (*worker, error) {
	child, err := cage.Start(cage.Options{}, opt.Exe, "worker")
	if err != nil {
		return nil, err
	}
	w := &worker{child: child, limit: cmp.Or(opt.Think, thinkLimit)}
	w.peer = protocol.NewPeer(child.Stdout, child.Stdin, counted{h, w})
	w.think()
	go func() {
		_ = w.peer.Run(context.Background()) // its calls fail with the link's error
		if w.alive() {
			child.End(cancelGrace) // a worker that breaks the protocol has nothing more to say
		}
	}()
	return w, nil
}

// counted keeps the time of a worker's calls off its own.
type counted struct {
	protocol.Handler
	w *worker
}

func (c counted) Handle(ctx context.Context, call string, body json.RawMessage) (any, error) {
	c.w.calls.Add(1)
	defer func() {
		c.w.think()
		c.w.calls.Add(-1)
	}()
	return c.Handler.Handle(ctx, call, body)
}

func (w *worker) think() { w.thinking.Store(time.Now().UnixNano()) }

func (w *worker) pid() int { return w.child.Pid() }

func (w *worker) alive() bool {
	select {
	case <-w.child.Done():
		return false
	case <-w.peer.Done():
		return false
	default:
		return true
	}
}

func (w *worker) end() { w.endOnce.Do(func() { w.child.End(cancelGrace) }) }

// load has the worker load and rehearse; the script's errors come as a
// *Refusal.
func (w *worker) load(ctx context.Context, in protocol.Load) (*spec.Experiment, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loadLimit, fmt.Errorf("loading and rehearsing took more than %s", loadLimit))
	defer cancel()
	var out protocol.Loaded
	if err := w.ask(ctx, protocol.CallLoad, in, &out); err != nil {
		return nil, &Refusal{Errors: []protocol.ScriptError{{Pos: spec.Pos(in.Script), Message: err.Error()}}}
	}
	w.rings = out.Rings
	if len(out.Errors) > 0 {
		return nil, &Refusal{Errors: out.Errors}
	}
	if out.Experiment == nil {
		return nil, errors.New("worker: loaded nothing")
	}
	return out.Experiment, nil
}

// run has the worker run a function of the script.
func (w *worker) run(ctx context.Context, call string, in any) (protocol.Ended, error) {
	var out protocol.Ended
	err := w.ask(ctx, call, in, &out)
	return out, err
}

// ask makes a call under the deadlines: the context, and computing without a
// call of its own for too long. A worker that has passed either is ended:
// SIGTERM asks the interpreter to stop, SIGKILL does not ask.
func (w *worker) ask(ctx context.Context, call string, in, out any) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.think()
	go w.watchThinking(ctx, cancel)
	err := w.peer.Call(ctx, call, in, out)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		w.end()
		return fmt.Errorf("worker: %w", context.Cause(ctx))
	case errors.Is(err, protocol.ErrClosed):
		w.lost.Store(true)
		w.end()
		return fmt.Errorf("worker: it %s", w.child.Wait())
	}
	return fmt.Errorf("worker: %w", err)
}

func (w *worker) watchThinking(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if w.calls.Load() == 0 && now.UnixNano()-w.thinking.Load() > int64(w.limit) {
				cancel(fmt.Errorf("the script hangs: it has computed for %s without a call", w.limit))
				return
			}
		}
	}
}

// rollbackServer serves a fresh worker that runs one rollback from its record:
// the sources are those that were shipped, whatever the files say by now.
type rollbackServer struct {
	server
	record protocol.Rollback
}

func (s rollbackServer) Handle(ctx context.Context, call string, body json.RawMessage) (any, error) {
	if call != protocol.CallSource {
		return s.server.Handle(ctx, call, body)
	}
	return serve(body, func(in protocol.Source) (any, error) { return s.shipped(in) })
}

// shipped finds a source among those that were shipped with the rollback.
func (s rollbackServer) shipped(in protocol.Source) (protocol.Sourced, error) {
	module := s.record.Module
	if in.Path != "" {
		var err error
		if module, err = protocol.ModuleName(in.Path, in.From); err != nil {
			return protocol.Sourced{}, err
		}
	}
	source, ok := s.record.Sources[module]
	if !ok {
		return protocol.Sourced{}, fmt.Errorf("%s was not shipped with the rollback", module)
	}
	return protocol.Sourced{Module: module, Name: module, Source: source}, nil
}

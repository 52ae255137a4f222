package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/protocol"
)

// greet answers the hello: it reaches the engine, undoes what dead runs left,
// and in a run takes the engine and opens a ledger.
func (a *agent) greet(ctx context.Context, in protocol.Hello) (protocol.Welcome, error) {
	var none protocol.Welcome
	switch in.Mode {
	case protocol.ModeRun, protocol.ModeLook, protocol.ModeRecover:
	default:
		return none, protocol.Errorf(protocol.CodeBad, "agent: got mode %q, want run, look or recover", in.Mode)
	}
	if a.hello.Swap(true) {
		return none, protocol.Errorf(protocol.CodeBad, "agent: got a second hello: an agent has one epoch")
	}
	a.mu.Lock()
	if a.epoch != fresh {
		a.mu.Unlock()
		return none, errClosed()
	}
	a.work.Add(1) // the process outlives what follows, whatever ends the link
	a.mu.Unlock()
	defer a.work.Done()

	if in.State != "" {
		state, err := filepath.Abs(in.State) // others read our paths from elsewhere
		if err != nil {
			return none, fmt.Errorf("agent: %w", err)
		}
		in.State = state
	}
	if err := a.bind(in); err != nil {
		return none, err
	}
	e, err := dialFor(ctx, in)
	if err != nil {
		return none, err
	}
	a.engine, a.run = e, in.Run
	a.mender = newMender(e, in.Undo)
	a.mender.world.Rules = a.policy
	a.finder = &finder{engine: e, project: in.Project, allow: in.Allow, never: a.policy.Never()}
	a.mender.world.Addresses = a.finder.addresses
	a.fetcher = newFetcher(e)
	w := protocol.Welcome{PID: os.Getpid(), EngineID: e.id, EngineVersion: e.version, APIVersion: e.ClientVersion()}
	dir := ledger.Dir(in.State, e.id)
	switch in.Mode {
	case protocol.ModeRun:
		if err := a.takeEngine(dir, in); err != nil {
			return none, err
		}
		w.Ledger = a.book.Path()
		w.Recovered, err = a.recoverAll(in.State, "")
	case protocol.ModeRecover:
		w.Recovered, err = a.recoverAll(in.State, in.Run)
	}
	failpoint.Hit("before-open")
	if err == nil && !a.begin() {
		err = errClosed()
	}
	if err != nil {
		return none, errors.Join(err, a.retreat())
	}
	if in.Mode == protocol.ModeRun {
		a.heart.arm(in.Heartbeat, func() { a.undoAll("silence", false) })
	}
	close(a.greeted)
	return w, nil
}

// dialFor dials the engine. A host needs none where what may be harmed is on the
// host itself, or where there is nothing of an engine to recover.
func dialFor(ctx context.Context, in protocol.Hello) (*engine, error) {
	e, err := dial(ctx)
	if err == nil {
		return e, nil
	}
	host := slices.ContainsFunc(in.Allow, fault.OnHost)
	if in.Mode == protocol.ModeRecover {
		var left error
		if host, left = onlyHost(in.State); left != nil {
			return nil, errors.Join(err, left)
		}
	}
	if !host {
		return nil, err
	}
	return noEngine(err)
}

// onlyHost says whether runs without an engine have been here, and what keeps a
// recover from being whole: ledgers of engines.
func onlyHost(state string) (bool, error) {
	dirs, err := engineDirs(state)
	if err != nil {
		return false, err
	}
	own, been := ledger.Dir(state, hostID()), false
	for _, dir := range dirs {
		if dir == own {
			been = true
			continue
		}
		if paths, err := ledger.List(dir); err != nil || len(paths) > 0 {
			return false, errors.Join(err, fmt.Errorf("agent: what %d runs on that engine have left waits for it", len(paths)))
		}
	}
	return been, nil
}

// recoverAll recovers what dead runs left on the engine, and on this host in the
// time of no engine.
func (a *agent) recoverAll(state, only string) ([]protocol.Abandoned, error) {
	all, err := a.recover(ledger.Dir(state, a.engine.id), only)
	if err != nil || a.engine.missing != nil {
		return all, err
	}
	host, err := a.recover(ledger.Dir(state, hostID()), only)
	return append(all, host...), err
}

// takeEngine takes the engine's lock and opens the run's ledger.
func (a *agent) takeEngine(dir string, in protocol.Hello) error {
	if err := ledger.MakeDir(dir); err != nil {
		return err
	}
	now := time.Now()
	us := ledger.Holder{Run: in.Run, PID: os.Getpid(), Began: now}
	lock, err := ledger.TakeLock(dir, us, in.Shared)
	var busy *ledger.BusyError
	if errors.As(err, &busy) {
		return protocol.Errorf(protocol.CodeBusy, "agent: %v", busy)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("after-lock")
	book, err := ledger.Create(dir, ledger.Header{
		Run: in.Run, Engine: a.engine.id, Began: now, Process: self(), Shared: in.Shared, Policy: in.Policy, Experiment: in.Header,
	})
	if err != nil {
		return errors.Join(err, lock.Release())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lock, a.book = lock, book
	if in.Shared {
		a.claims = newClaims(dir, book.Path(), us)
	}
	return nil
}

// begin opens the epoch, unless the link or a signal has ended it meanwhile.
func (a *agent) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch == fresh {
		a.epoch = open
		return true
	}
	return false
}

// retreat gives the engine back after a hello that failed: nothing was injected.
func (a *agent) retreat() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.book == nil {
		return nil
	}
	err := errors.Join(a.book.Remove(), a.lock.Release())
	a.lock = nil
	return err
}

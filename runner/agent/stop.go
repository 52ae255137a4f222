package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/protocol"
)

// How a run was stopped.
const (
	HowUndone = "undone" // its agent lived and took everything back
	HowKilled = "killed" // its agent was wedged: it was killed, and its faults taken back from its ledger
	HowDead   = "dead"   // its agent was dead already
)

// Stopped is a run that was stopped, and what became of its faults. Its ledger
// stays for its supervisor, or for the next run or recover, to write its end.
type Stopped struct {
	protocol.Abandoned
	PID   int    `json:"pid,omitempty"`
	How   string `json:"how"`
	Error string `json:"error,omitempty"` // it may not be stopped
}

// patienceOfStop is how long an agent may take to end its undo after SIGTERM
// until it counts as wedged.
const patienceOfStop = 20 * time.Second

// Stop makes every run on the engine undo everything, now; or one, if run is
// given. It goes on past runs that cannot be stopped.
func Stop(ctx context.Context, state, run string) ([]Stopped, error) {
	e, failed := dial(ctx)
	var m *mender
	own, host := ledger.Dir(state, hostID()), newMender(nil, 0) // of runs without an engine
	dirs := []string{own}
	if failed == nil {
		defer e.Close() //nolint:errcheck // nothing waits on it
		dirs, m = append(dirs, ledger.Dir(state, e.id)), newMender(e, 0)
	} else { // agents may hold the kernel's faults, and may reach their engine
		only, err := onlyHost(state)
		if only && err == nil {
			failed = nil
		} else if dirs, err = engineDirs(state); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	var mu sync.Mutex
	var stopped []Stopped
	var all sync.WaitGroup
	for _, dir := range dirs {
		paths, err := ledger.List(dir)
		failed = errors.Join(failed, err)
		m := m
		if dir == own {
			m = host
		}
		for _, path := range paths {
			all.Go(func() {
				s, err := stopOne(ctx, path, run, m)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = errors.Join(failed, err)
				} else if s != nil {
					stopped = append(stopped, *s)
				}
			})
		}
	}
	all.Wait()
	if run != "" && len(stopped) == 0 && failed == nil {
		failed = fmt.Errorf("stop: there is no run %s: see `runner status`", run)
	}
	return stopped, failed
}

// stopOne stops the run of one ledger; nil if it is none that is meant.
func stopOne(ctx context.Context, path, run string, m *mender) (*Stopped, error) {
	view, err := ledger.Look(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it has just ended
	}
	if err != nil {
		return nil, unreadable(err)
	}
	defer view.Close()
	c, alive, err := view.Read()
	if err != nil {
		return nil, err
	}
	if run != "" && c.Header.Run != run {
		return nil, nil
	}
	s := &Stopped{How: HowDead, PID: c.Header.Process.PID}
	s.Abandoned = protocol.Abandoned{Run: c.Header.Run, Header: c.Header.Experiment}
	if alive {
		if s.How, err = endAgent(ctx, path, view, c.Header.Process); err != nil {
			s.Error = err.Error()
			return s, nil
		}
	}
	if s.How != HowUndone {
		s.takeOver(ctx, path, m)
	}
	if c, _, err := view.Read(); err == nil && s.How == HowUndone {
		for _, f := range c.Faults {
			if f.Result != nil {
				s.Results = append(s.Results, *f.Result)
			}
		}
		s.Rollbacks, s.Damaged = c.Rollbacks, c.Damage
	}
	return s, nil
}

// endAgent has a live agent undo everything, and kills it if it does not.
func endAgent(ctx context.Context, path string, view *ledger.View, p ledger.Process) (how string, err error) {
	h, unreachable := reach(path, p)
	defer h.close()
	over := func() bool { // it is dead, or nothing is in any more
		c, alive, err := view.Read()
		switch {
		case err == nil && (c.Closed != "" || h.heir) && len(c.In()) == 0:
			how = HowUndone
		case err == nil && !alive:
			how = HowDead
		}
		return how != ""
	}
	if over() { // whatever could be reached: it may have ended meanwhile
		return how, nil
	}
	if unreachable != nil {
		return "", unreachable
	}
	if !h.heir {
		if err := h.signal(unix.SIGTERM); err != nil {
			return "", fmt.Errorf("stop: end process %d: %w; run as the user who runs experiments", h.pid, err)
		}
	}
	for until := time.Now().Add(patienceOfStop); !frozen(h.pid) && time.Now().Before(until) && ctx.Err() == nil; {
		if over() {
			return how, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := h.signal(unix.SIGKILL); err != nil {
		return "", fmt.Errorf("stop: kill process %d: %w", h.pid, err)
	}
	return HowKilled, nil
}

// A holder is the process that has a ledger's flock, held by a pidfd: the run's
// agent, or an heir that takes back what a dead one has left: it needs no word.
type holder struct {
	pid, fd int
	heir    bool
}

// reach holds the process that has the ledger; p is the agent that made it.
func reach(path string, p ledger.Process) (h holder, err error) {
	h = holder{pid: p.PID, fd: -1}
	if gone := running(p); gone != nil {
		if h.pid, h.heir = locker(path), true; h.pid == 0 {
			return holder{fd: -1}, fmt.Errorf("stop: the agent of this run lives, but cannot be reached from here: %w", gone)
		}
	}
	if h.fd, err = unix.PidfdOpen(h.pid, 0); err != nil {
		return h, fmt.Errorf("stop: hold process %d: %w", h.pid, err)
	}
	if !h.heir && running(p) != nil || !holds(h.pid, path) {
		return h, fmt.Errorf("stop: process %d is not seen to hold %s, and is not touched; run as root where the run was started", h.pid, path)
	}
	return h, nil
}

func (h holder) signal(s unix.Signal) error {
	if err := unix.PidfdSendSignal(h.fd, s, nil, 0); err != unix.ESRCH { // it has just ended
		return err
	}
	return nil
}

func (h holder) close() {
	if h.fd >= 0 {
		_ = unix.Close(h.fd) // nothing was written to it
	}
}

// takeOver undoes what is in the ledger of an agent that is dead, or dies.
func (s *Stopped) takeOver(ctx context.Context, path string, m *mender) {
	if m == nil {
		s.Error = "its faults cannot be taken back without the engine"
		return
	}
	for until := time.Now().Add(patienceOfStop); ; {
		d, err := openDead(path, m)
		if errors.Is(err, ledger.ErrAlive) && time.Now().Before(until) && ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond) // it takes a moment to die; or another takes it over
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return // another has settled it
		}
		if err != nil {
			s.Error = err.Error()
			return
		}
		s.Abandoned = d.abandoned()
		_ = d.book.Closed("stop")
		_ = d.book.Close() // it stays, for the run's end to be told
		return
	}
}

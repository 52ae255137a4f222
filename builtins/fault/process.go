package fault

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a container's init process, held by a pidfd: whatever happens
// to its number, this one is meant.
type process struct {
	pid int
	fd  int
}

// grip holds the subject's init process: the pidfd first, then the engine is
// asked again. The process is nil, and blind says why, where the engine's
// processes cannot be seen from here; err refuses another generation.
func (s *subject) grip(ctx context.Context, w World) (p *process, blind, err error) {
	p, blind = openProcess(s.Target.PID, s.Target.ID)
	c, err := inspect(ctx, w, s.Target.ID)
	if err == nil {
		err = s.same(c, s.Target)
	}
	if err == nil && p != nil && !p.alive() {
		err = refuse("container %s has just ended by itself", s.Target.Name)
	}
	if err != nil {
		p.close()
		return nil, nil, err
	}
	return p, blind, nil
}

// openProcess holds process pid if it is seen to be in container id's cgroup:
// with a remote engine the number means something else here.
func openProcess(pid int, id string) (*process, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("got pid %d", pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d cannot be held from here: %w", pid, err)
	}
	p := &process{pid: pid, fd: fd}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		p.close()
		return nil, fmt.Errorf("process %d cannot be seen from here: %w", pid, err)
	}
	if !strings.Contains(string(groups), id) || !p.alive() {
		p.close()
		return nil, fmt.Errorf("process %d of this host is not the container's: the engine runs elsewhere", pid)
	}
	return p, nil
}

func (p *process) close() {
	if p != nil {
		_ = unix.Close(p.fd) // nothing was written to it
	}
}

func (p *process) alive() bool { return !p.ended(0) }

// ended waits at most d for the end of the process.
func (p *process) ended(d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for until := time.Now().Add(d); ; {
		n, err := unix.Poll(fds, int(max(0, time.Until(until)).Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		return err == nil && n > 0
	}
}

// waitEnd waits for the end of the process as long as ctx lasts.
func (p *process) waitEnd(ctx context.Context) bool {
	for !p.ended(poll) {
		if ctx.Err() != nil {
			return p.ended(0)
		}
	}
	return true
}

func (p *process) signal(s unix.Signal) error {
	return unix.PidfdSendSignal(p.fd, s, nil, 0)
}

// ignores says why a signal to the process would do nothing: the kernel drops
// for the init of a PID namespace whatever has no handler, SIGKILL aside.
// Empty where it would act, or where that cannot be seen.
func (p *process) ignores(s unix.Signal) string {
	if s == unix.SIGKILL {
		return ""
	}
	st, err := status(p.pid)
	if err != nil || !p.alive() {
		return ""
	}
	bit := uint64(1) << (s - 1)
	if st.mask("SigIgn")&bit != 0 {
		return "ignores it"
	}
	ns := strings.Fields(st["NSpid"])
	if len(ns) > 0 && ns[len(ns)-1] == "1" && st.mask("SigCgt")&bit == 0 {
		return "is a PID 1 without a handler for it, and for such the kernel drops the signal"
	}
	return ""
}

// pending says whether the signal still waits to be taken.
func (p *process) pending(s unix.Signal) bool {
	st, err := status(p.pid)
	return err == nil && p.alive() && (st.mask("ShdPnd")|st.mask("SigPnd"))&(1<<(s-1)) != 0
}

type procStatus map[string]string

func status(pid int) (procStatus, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	st := procStatus{}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			st[name] = strings.TrimSpace(value)
		}
	}
	return st, nil
}

func (st procStatus) mask(name string) uint64 {
	n, _ := strconv.ParseUint(st[name], 16, 64)
	return n
}

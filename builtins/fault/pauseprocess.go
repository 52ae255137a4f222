package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/proc"
)

// A process of the host is paused by SIGSTOP and goes on by SIGCONT, both to a
// pidfd: its successor under the same number is never meant.

// stoppable refuses what must not be stopped, or is stopped already.
func (p *pause) stoppable(t Target) error {
	held, err := t.hold()
	if err != nil {
		return err
	}
	defer held.close()
	st, err := proc.Stat(t.PID)
	if err != nil {
		return err
	}
	switch {
	case t.PID == 1 || t.PID == 2 || st.Parent == 2:
		return refuse("%s is the host's init or one of its kernel's threads", t.Name)
	case st.Stopped():
		return refuse("%s is stopped already: kill -CONT %d", t.Name, t.PID)
	}
	for pid := os.Getpid(); pid > 0; {
		if pid == t.PID {
			return refuse("%s is an ancestor of this agent: nobody would be left to let it go on", t.Name)
		}
		ours, err := proc.Stat(pid)
		if err != nil {
			return err
		}
		pid = ours.Parent
	}
	p.subject = subject{Target: t}
	return nil
}

func (p *pause) stopProcess(ctx context.Context) error {
	held, err := p.Target.hold()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	defer held.close()
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, context.Cause(ctx))
	}
	if err := held.signal(unix.SIGSTOP); err != nil {
		return fmt.Errorf("%w: stop %s: %w", ErrNotBegun, p.Target.Name, err)
	}
	return p.seen(ctx, held, true)
}

// seen waits until the kernel says that the process is stopped, or goes on.
func (p *pause) seen(ctx context.Context, held *process, stopped bool) error {
	for until := time.Now().Add(dieTimeout); ; {
		st, err := proc.Stat(held.pid)
		if !held.alive() {
			return fmt.Errorf("%s has ended", p.Target.Name)
		}
		if err != nil {
			return err
		}
		if st.Stopped() == stopped {
			return nil
		}
		if time.Now().After(until) || !rest(ctx, 5*time.Millisecond) {
			return fmt.Errorf("%s is still in state %c", p.Target.Name, st.State)
		}
	}
}

func (p *pause) continueProcess(ctx context.Context) (string, error) {
	held, err := p.Target.hold()
	if errors.Is(err, ErrRefused) {
		return "the process has ended, and nothing of it is left", nil
	}
	if err != nil {
		return "", err
	}
	defer held.close()
	// Whatever its state is: one that waits for a disk has its stop still to come.
	was, _ := proc.Stat(held.pid) // without it there is nothing to remark
	if err := held.signal(unix.SIGCONT); err != nil && err != unix.ESRCH {
		return "", fmt.Errorf("let %s go on: %w", p.Target.Name, err)
	}
	if err := p.seen(ctx, held, false); err != nil && held.alive() {
		return "", err
	}
	if !was.Stopped() {
		return "it was not stopped", nil
	}
	return "", nil
}

package fault

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"
)

// Kill ends a container without asking it.
//
//	stays_down:  engine ──SIGKILL──▶ init    a manual stop: restart policies do not act
//	otherwise:   pidfd ───signal───▶ init    a crash: the restart policy acts as in a real one
//
// The engine is never asked for another signal than SIGKILL: one that the
// process survives would still switch its restart policy off.
type Kill struct {
	StaysDown bool   `json:"stays_down"`
	Signal    string `json:"signal,omitempty"` // "SIGKILL" when empty
}

// lethal has the signals that Kill sends, and whether the process is then
// expected to end. The others are caught by many to reload or to dump.
var lethal = map[string]bool{
	"SIGABRT": true, "SIGALRM": true, "SIGBUS": true, "SIGFPE": true, "SIGILL": true, "SIGINT": true, "SIGKILL": true,
	"SIGQUIT": true, "SIGSEGV": true, "SIGTERM": true, "SIGHUP": false, "SIGPIPE": false, "SIGUSR1": false, "SIGUSR2": false,
}

// Validate implements [Params].
func (k *Kill) Validate() error {
	name := strings.ToUpper(k.Signal)
	if name == "" {
		name = "SIGKILL"
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if _, known := lethal[name]; !known {
		hint := ""
		if slices.Contains([]string{"SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"}, name) {
			hint = ": pause() holds a container still"
		}
		return fmt.Errorf("signal: got %q, want one of %s%s", k.Signal, strings.Join(slices.Sorted(maps.Keys(lethal)), ", "), hint)
	}
	if k.StaysDown && name != "SIGKILL" {
		return fmt.Errorf("signal: got %q with stays_down, want SIGKILL: the engine keeps a container down only then; "+
			"set stays_down = False to signal the process itself", k.Signal)
	}
	k.Signal = name
	return nil
}

type killer interface {
	ContainerKill(ctx context.Context, id, signal string) error
}

const (
	killTimeout = 20 * time.Second // the engine waits 10 s for the end, then tries harder
	dieTimeout  = 10 * time.Second // for a process to end after its signal
)

type kill struct {
	Kill
	subject
	Policy string `json:"policy,omitempty"` // the restart policy, for words only
}

func (k *kill) Params() Params { return &k.Kill }

func (k *kill) Prepare(ctx context.Context, w World, t Target) error {
	c, err := k.look(ctx, w, t)
	if err != nil {
		return err
	}
	if err := survives(c, t); err != nil {
		return err
	}
	if c.HostConfig != nil {
		k.Policy = string(c.HostConfig.RestartPolicy.Name)
	}
	p, blind, err := k.grip(ctx, w)
	if err != nil {
		return err
	}
	defer p.close()
	if k.StaysDown {
		return nil
	}
	if p == nil {
		return refuse("cannot signal %s's init process as a crash would: %v; run as root on the engine's host, "+
			"or set stays_down = True to kill it through the engine", t.Name, blind)
	}
	if err := p.signal(0); err != nil {
		return refuse("may not signal %s's init process: %v; run as root, or set stays_down = True to kill it through the engine", t.Name, err)
	}
	if why := p.ignores(k.number()); why != "" {
		return refuse("%s would do nothing to %s: its init process %s; use SIGKILL", k.Signal, t.Name, why)
	}
	return nil
}

func (k *kill) Apply(ctx context.Context, w World) error {
	p, blind, err := k.grip(ctx, w)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	defer p.close()
	if k.StaysDown {
		err := settle(ctx, killTimeout, "kill", func(ctx context.Context) error {
			return w.Engine.ContainerKill(ctx, k.Target.ID, "SIGKILL")
		})
		if err != nil {
			return err
		}
		return k.watch(ctx, w, dieTimeout, func(c container.InspectResponse) bool { return !c.State.Running })
	}
	if p == nil {
		return fmt.Errorf("%w: cannot signal %s: %w", ErrNotBegun, k.Target.Name, blind)
	}
	if err := p.signal(k.number()); err != nil {
		return fmt.Errorf("%w: send %s to process %d: %w", ErrNotBegun, k.Signal, p.pid, err)
	}
	return k.acted(ctx, w, p)
}

// acted returns once the signal is seen to have done its work.
func (k *kill) acted(ctx context.Context, w World, p *process) error {
	wait, cancel := context.WithTimeout(ctx, dieTimeout)
	defer cancel()
	if lethal[k.Signal] {
		if !p.waitEnd(wait) {
			return fmt.Errorf("kill: %s has survived %s for %v", k.Target.Name, k.Signal, dieTimeout)
		}
	} else {
		for p.pending(k.number()) {
			if !rest(wait, poll) {
				return fmt.Errorf("kill: %s has not taken %s for %v", k.Target.Name, k.Signal, dieTimeout)
			}
		}
		if !p.ended(poll) { // it has a handler and lives on, as is its right
			return nil
		}
	}
	return k.watch(ctx, w, dieTimeout, func(c container.InspectResponse) bool {
		return !c.State.Running || c.State.Restarting || c.State.StartedAt != k.Target.StartedAt
	})
}

func (k *kill) Undo(ctx context.Context, w World, past Past) (string, error) {
	landing := 2 * time.Second
	if k.Signal != "SIGKILL" { // a process may take its time to end
		landing = dieTimeout
	}
	return k.revive(ctx, w, past, landing)
}

func (k *kill) Describe() Words {
	harm := fmt.Sprintf("kill -9 %s through the engine, which leaves it down", called(k.Target))
	if !k.StaysDown {
		policy := k.Policy
		if policy == "" {
			policy = "no"
		}
		harm = fmt.Sprintf("%s to the init process of %s, as in a crash; its restart policy is %q", k.Signal, called(k.Target), policy)
	}
	return Words{Harm: harm, Remedy: k.remedy(), Held: HeldByEngine}
}

func (k *kill) Mend() string { return "docker start " + k.Target.Name }

func (k *kill) number() unix.Signal { return unix.SignalNum(k.Signal) }

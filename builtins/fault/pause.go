package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// Pause freezes every process of a container: its connections stay open and
// nothing answers on them. A process of the host is stopped by a signal.
type Pause struct{}

// Validate implements [Params].
func (*Pause) Validate() error { return nil }

type pauser interface {
	ContainerPause(ctx context.Context, id string) error
	ContainerUnpause(ctx context.Context, id string) error
}

const pauseTimeout = 15 * time.Second

type pause struct {
	Pause
	subject
}

func (p *pause) Params() Params { return &p.Pause }

func (p *pause) Prepare(ctx context.Context, w World, t Target) error {
	if t.Place == PlacePID {
		return p.stoppable(t)
	}
	_, err := p.look(ctx, w, t)
	return err
}

func (p *pause) Apply(ctx context.Context, w World) error {
	if p.Target.Place == PlacePID {
		return p.stopProcess(ctx)
	}
	held, _, err := p.grip(ctx, w)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	defer held.close()
	err = settle(ctx, pauseTimeout, "pause", func(ctx context.Context) error {
		return w.Engine.ContainerPause(ctx, p.Target.ID)
	})
	if err != nil {
		return err
	}
	return p.watch(ctx, w, dieTimeout, func(c container.InspectResponse) bool { return c.State.Paused })
}

func (p *pause) Undo(ctx context.Context, w World, past Past) (string, error) {
	if p.Target.Place == PlacePID {
		return p.continueProcess(ctx)
	}
	began := time.Now()
	for {
		c, err := inspect(ctx, w, p.Target.ID)
		if errdefs.IsNotFound(err) {
			return p.replaced(ctx, w), nil
		}
		if err != nil {
			return "", err
		}
		same := c.State.StartedAt == p.Target.StartedAt
		switch {
		case c.State.Paused && !same:
			return "it was restarted since, and paused by somebody else: left so", nil
		case c.State.Paused:
			err := ask(ctx, pauseTimeout, "unpause", func(ctx context.Context) error {
				return w.Engine.ContainerUnpause(ctx, p.Target.ID)
			})
			if err != nil { // somebody may have been faster: look again
				if c, again := inspect(ctx, w, p.Target.ID); again != nil || c.State.Paused {
					return "", err
				}
			}
			return "", nil // it had landed, and there was only one
		case !same:
			return "it was restarted since and is not paused", nil
		case !c.State.Running:
			return "it is not running any more, and this fault did not end it", nil
		case past.Settled || time.Since(began) > 2*time.Second:
			return "", nil
		default: // a pause whose caller died may yet land
			if !rest(ctx, poll) {
				return "", fmt.Errorf("unpause: cut short: %w", context.Cause(ctx))
			}
		}
	}
}

func (p *pause) Describe() Words {
	if p.Target.Place == PlacePID {
		return Words{
			Harm:   fmt.Sprintf("stop %s (SIGSTOP): it keeps its connections and answers nothing", p.Target.Name),
			Remedy: fmt.Sprintf("let %s go on (SIGCONT)", p.Target.Name),
			Held:   HeldByProcess,
		}
	}
	return Words{
		Harm:   fmt.Sprintf("pause %s: it keeps its connections and answers nothing", called(p.Target)),
		Remedy: "unpause " + p.Target.Name,
		Held:   HeldByEngine,
	}
}

func (p *pause) Mend() string {
	if p.Target.Place == PlacePID {
		return fmt.Sprintf("kill -CONT %d", p.Target.PID)
	}
	return "docker unpause " + p.Target.Name
}

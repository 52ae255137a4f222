package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
)

// Restart stops a container and starts it again at once. It ends by itself;
// its undo is for one that was caught half-way, with the container down.
type Restart struct {
	Grace time.Duration `json:"grace,omitempty"` // as for Stop
}

// Validate implements [Params].
func (r *Restart) Validate() error { return validGrace(r.Grace) }

type restarter interface {
	ContainerRestart(ctx context.Context, id string, options container.StopOptions) error
}

type restart struct {
	Restart
	subject
	Own time.Duration `json:"own,omitempty"`
}

func (r *restart) Params() Params { return &r.Restart }

func (r *restart) Prepare(ctx context.Context, w World, t Target) error {
	c, err := r.look(ctx, w, t)
	if err != nil {
		return err
	}
	r.Own = ownGrace(c)
	return nil
}

func (r *restart) Apply(ctx context.Context, w World) error {
	p, _, err := r.grip(ctx, w)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	defer p.close()
	err = settle(ctx, r.grace()+killTimeout+startTimeout, "restart", func(ctx context.Context) error {
		return w.Engine.ContainerRestart(ctx, r.Target.ID, graceOption(r.Grace))
	})
	if err != nil {
		return err
	}
	return r.watch(ctx, w, dieTimeout, func(c container.InspectResponse) bool {
		return c.State.StartedAt != r.Target.StartedAt && up(c.State)
	})
}

func (r *restart) Undo(ctx context.Context, w World, past Past) (string, error) {
	note, err := r.revive(ctx, w, past, r.grace()+2*time.Second)
	if note == runsAgain && past.Settled {
		note = "" // which is what it is for
	}
	return note, err
}

// Slow adds the time in which a restart whose caller died may still land.
func (r *restart) Slow() time.Duration { return r.subject.Slow() + r.grace() }

func (r *restart) Describe() Words {
	remedy := "nothing: it comes back by itself"
	if r.Healthy {
		remedy += ", and is waited for until it is healthy"
	}
	return Words{
		Harm:   fmt.Sprintf("restart %s with a grace of %v", called(r.Target), r.grace()),
		Remedy: remedy,
		Held:   HeldByEngine,
	}
}

func (r *restart) Mend() string { return "docker start " + r.Target.Name }

func (r *restart) grace() time.Duration { return either(r.Grace, r.Own) }

package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
)

// Stop ends a container as `docker stop` does: its stop signal, and SIGKILL
// once the grace has passed.
type Stop struct {
	Grace time.Duration `json:"grace,omitempty"` // whole seconds, rounded up; 0: the container's own, 10 s by default
}

const maxGrace = 5 * time.Minute

// Validate implements [Params].
func (s *Stop) Validate() error { return validGrace(s.Grace) }

func validGrace(grace time.Duration) error {
	if grace < 0 || grace > maxGrace {
		return fmt.Errorf("grace: got %v, want at most %v (0 is the container's own)", grace, maxGrace)
	}
	return nil
}

type stopper interface {
	ContainerStop(ctx context.Context, id string, options container.StopOptions) error
}

type stop struct {
	Stop
	subject
	Own time.Duration `json:"own,omitempty"` // the container's own grace
}

func (s *stop) Params() Params { return &s.Stop }

func (s *stop) Prepare(ctx context.Context, w World, t Target) error {
	c, err := s.look(ctx, w, t)
	if err != nil {
		return err
	}
	s.Own = ownGrace(c)
	return survives(c, t)
}

func (s *stop) Apply(ctx context.Context, w World) error {
	p, _, err := s.grip(ctx, w)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	defer p.close()
	err = settle(ctx, s.grace()+killTimeout, "stop", func(ctx context.Context) error {
		return w.Engine.ContainerStop(ctx, s.Target.ID, graceOption(s.Grace))
	})
	if err != nil {
		return err
	}
	return s.watch(ctx, w, dieTimeout, func(c container.InspectResponse) bool { return !c.State.Running })
}

func (s *stop) Undo(ctx context.Context, w World, past Past) (string, error) {
	return s.revive(ctx, w, past, s.grace()+2*time.Second)
}

// Slow adds the time in which a stop whose caller died may still land.
func (s *stop) Slow() time.Duration { return s.subject.Slow() + s.grace() }

func (s *stop) Describe() Words {
	return Words{
		Harm:   fmt.Sprintf("stop %s with a grace of %v", called(s.Target), s.grace()),
		Remedy: s.remedy(),
		Held:   HeldByEngine,
	}
}

func (s *stop) Mend() string { return "docker start " + s.Target.Name }

func (s *stop) grace() time.Duration { return either(s.Grace, s.Own) }

func either(grace, own time.Duration) time.Duration {
	if grace > 0 {
		return grace
	}
	return own
}

func ownGrace(c container.InspectResponse) time.Duration {
	if t := c.Config.StopTimeout; t != nil && *t >= 0 {
		return min(time.Duration(*t)*time.Second, maxGrace)
	}
	return 10 * time.Second
}

func graceOption(grace time.Duration) container.StopOptions {
	if grace == 0 {
		return container.StopOptions{}
	}
	seconds := int((grace + time.Second - 1) / time.Second)
	return container.StopOptions{Timeout: &seconds}
}

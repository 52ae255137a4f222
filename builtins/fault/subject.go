package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

type inspector interface {
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
}

// An engine that is there answers these well within their time; they end the
// wait for one that hangs. An inspect waits for a start of the same container.
const (
	inspectTimeout = 10 * time.Second
	poll           = 250 * time.Millisecond
)

// A subject is a container as Prepare saw it. It stands in the ledger.
type subject struct {
	Target   Target        `json:"target"`
	Healthy  bool          `json:"healthy,omitempty"`  // it had passed its health check
	Restarts int           `json:"restarts,omitempty"` // by its policy, as the engine counts
	Patience time.Duration `json:"patience,omitempty"` // what its health check takes to say anything
}

// Slow is how much longer than usual the remedy may take by the target's own
// nature: a health check every 30 s says nothing for 30 s.
func (s *subject) Slow() time.Duration { return s.Patience }

// look inspects the target and refuses whatever cannot be harmed and put back.
func (s *subject) look(ctx context.Context, w World, t Target) (container.InspectResponse, error) {
	switch t.Place {
	case PlaceNetns:
		return container.InspectResponse{}, refuse("%s is no container: a network namespace takes netem and partition", t.Name)
	case PlacePID:
		return container.InspectResponse{}, refuse("%s is no container: a process takes pause, netem and partition", t.Name)
	}
	c, err := inspect(ctx, w, t.ID)
	if errdefs.IsNotFound(err) {
		return c, refuse("container %s (%s) is gone: resolve the target again", t.Name, short(t.ID))
	}
	if err != nil {
		return c, err
	}
	if err := s.same(c, t); err != nil {
		return c, err
	}
	for _, label := range []string{"com.docker.swarm.task.id", "io.kubernetes.pod.uid"} {
		if _, managed := c.Config.Labels[label]; managed {
			return c, refuse("container %s belongs to an orchestrator (label %s), which would replace it: "+
				"its undo would then run a second one", t.Name, label)
		}
	}
	*s = subject{Target: t, Restarts: c.RestartCount}
	if h := c.State.Health; h != nil && h.Status == container.Healthy {
		s.Healthy = true
		s.Patience = firstWord(c.Config.Healthcheck)
	}
	return c, nil
}

// same refuses a container that is not the generation t, or not up.
func (s *subject) same(c container.InspectResponse, t Target) error {
	st := c.State
	switch {
	case c.ID != t.ID:
		return refuse("container %s is %s now, not %s: resolve the target again", t.Name, short(c.ID), short(t.ID))
	case st.Restarting:
		return refuse("container %s is restarting (exit code %d): let it come up first", t.Name, st.ExitCode)
	case st.Paused:
		return refuse("container %s is paused: docker unpause %s", t.Name, t.Name)
	case !st.Running:
		return refuse("container %s is not running (%s): docker start %s", t.Name, st.Status, t.Name)
	case st.Pid <= 0:
		return refuse("container %s has no process yet (pid %d): let it come up first", t.Name, st.Pid)
	case st.StartedAt != t.StartedAt || (t.PID != 0 && st.Pid != t.PID):
		return refuse("container %s was restarted at %s, and the target is what started at %s: resolve the target again",
			t.Name, st.StartedAt, t.StartedAt)
	}
	return nil
}

// survives refuses a container that the engine removes as soon as it ends.
func survives(c container.InspectResponse, t Target) error {
	if c.HostConfig != nil && c.HostConfig.AutoRemove {
		return refuse("container %s was started with --rm: it and its anonymous volumes would be gone for good "+
			"with its first end; start it without --rm", t.Name)
	}
	return nil
}

// firstWord is how long a health check may take to call a container healthy:
// Docker waits a whole interval before the first try.
func firstWord(h *container.HealthConfig) time.Duration {
	interval, timeout := 30*time.Second, 30*time.Second // Docker's defaults
	if h == nil {
		return 0
	}
	if h.Interval > 0 {
		interval = h.Interval
	}
	if h.Timeout > 0 {
		timeout = h.Timeout
	}
	return min(h.StartPeriod+2*interval+timeout, 5*time.Minute)
}

// up says whether a container runs as it should, its health aside.
func up(st *container.State) bool {
	return st.Running && !st.Restarting && !st.Paused && st.Pid > 0
}

func inspect(ctx context.Context, w World, id string) (container.InspectResponse, error) {
	var c container.InspectResponse
	err := ask(ctx, inspectTimeout, "inspect", func(ctx context.Context) (err error) {
		c, err = w.Engine.ContainerInspect(ctx, id)
		return err
	})
	if err == nil && (c.ContainerJSONBase == nil || c.State == nil || c.Config == nil) {
		err = errors.New("inspect: the engine's answer has no state")
	}
	return c, err
}

// ask makes one call to the engine, which may take so long.
func ask(ctx context.Context, atMost time.Duration, what string, call func(context.Context) error) error {
	began := time.Now()
	inner, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	err := call(inner)
	if err != nil && inner.Err() != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("%s: the engine has not answered for %v: %w", what, time.Since(began).Round(time.Millisecond), err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// settle is ask for a call that harms: it runs to its end though ctx has ended,
// because the engine goes on with it anyway, and an undo must come after it.
func settle(ctx context.Context, atMost time.Duration, what string, call func(context.Context) error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrNotBegun, context.Cause(ctx))
	}
	return ask(context.WithoutCancel(ctx), atMost, what, call)
}

// watch inspects the container until seen says so.
func (s *subject) watch(ctx context.Context, w World, atMost time.Duration, seen func(container.InspectResponse) bool) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		c, err := inspect(ctx, w, s.Target.ID)
		if err == nil && seen(c) {
			return nil
		}
		if !rest(ctx, poll) {
			if err != nil {
				return err
			}
			return fmt.Errorf("container %s is still %s", s.Target.Name, c.State.Status)
		}
	}
}

// rest reports whether ctx lasted as long as d.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// called is a target as sentences name it.
func called(t Target) string {
	if t.Place != "" {
		return t.Name
	}
	return fmt.Sprintf("%s (%s)", t.Name, short(t.ID))
}

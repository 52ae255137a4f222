package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

type starter interface {
	ContainerStart(ctx context.Context, id string, options container.StartOptions) error
}

const (
	startTimeout = 60 * time.Second // 20 starts at once take an idle engine 9 s
	backOff      = 3 * time.Second  // an engine's back-off worth waiting for
)

const runsAgain = "it was running again already, by its restart policy or by hand"

func (s *subject) remedy() string {
	if s.Healthy {
		return "start " + s.Target.Name + " and wait until it is healthy"
	}
	return "start " + s.Target.Name
}

// revive makes one attempt to have the container running again.
//
//	gone, re-created         ─▶ nothing to do
//	down, our generation     ─▶ start
//	down, a later generation ─▶ start if the policy or an undo made it; else it is not ours
//	restarting               ─▶ wait; after a while restart it
//	up, our generation       ─▶ wait while a harm that is not settled may still land
//	up                       ─▶ wait until healthy, if it was
func (s *subject) revive(ctx context.Context, w World, past Past, landing time.Duration) (string, error) {
	began := time.Now()
	last, forced, starts := error(nil), false, 0
	var calm steady
	for {
		c, err := inspect(ctx, w, s.Target.ID)
		if errdefs.IsNotFound(err) {
			return s.replaced(ctx, w), nil
		}
		if err != nil {
			return "", errors.Join(last, err)
		}
		st := c.State
		calm.see(st, c.RestartCount > s.Restarts+1 || starts > 1)
		later := st.StartedAt != s.Target.StartedAt
		switch {
		case st.Dead || st.Status == "removing":
			return "it is being removed: nothing to put back", nil
		case st.Paused:
			return "it runs, and somebody has paused it: left so", nil
		case up(st) && !later && !past.Settled && time.Since(began) < landing:
			last = fmt.Errorf("%s is up, but what was asked of the engine may still land", s.Target.Name)
		case up(st) && !calm.enough():
			last = fmt.Errorf("%s has been restarted %d times and does not stay up%s", s.Target.Name, c.RestartCount, said(st.Error))
		case up(st):
			if last = s.unwell(c); last == nil {
				if later && !past.Again {
					return runsAgain, nil
				}
				return "", nil
			}
		case st.Restarting && !forced && time.Since(began) > backOff:
			forced = true
			if err := s.again(ctx, w); err != nil {
				return "", err
			}
			continue
		case st.Restarting:
			last = fmt.Errorf("%s is restarting: exit code %d, %d times so far%s", s.Target.Name, st.ExitCode, c.RestartCount, said(st.Error))
		case st.Running: // without a process: between two states
			last = fmt.Errorf("%s has no process yet", s.Target.Name)
		case later && !past.Again && c.RestartCount <= s.Restarts:
			return "somebody has started it since and it has ended since: left so", nil
		default:
			if starts > 0 {
				last = fmt.Errorf("%s was started %d times and has ended again each time: exit code %d%s",
					s.Target.Name, starts, st.ExitCode, said(st.Error))
				if !rest(ctx, min(time.Duration(starts)*poll, 2*time.Second)) {
					return "", last
				}
			}
			if err := s.start(ctx, w, c); err != nil {
				return "", errors.Join(last, err)
			}
			past = Past{Settled: true, Again: true} // what comes now is our own doing
			starts++
			continue
		}
		if !rest(ctx, poll) {
			return "", last
		}
	}
}

// steady tells a container that is up from one that is up between two crashes.
type steady struct {
	shaky bool // it was seen to crash
	start string
	since time.Time
}

func (y *steady) see(st *container.State, shaky bool) {
	y.shaky = y.shaky || shaky || st.Restarting
	if st.StartedAt != y.start {
		y.start, y.since = st.StartedAt, time.Now()
	}
}

func (y *steady) enough() bool { return !y.shaky || time.Since(y.since) > time.Second }

// unwell says what a running container that was healthy before still lacks.
func (s *subject) unwell(c container.InspectResponse) error {
	h := c.State.Health
	if !s.Healthy || h == nil || h.Status == container.Healthy || h.Status == container.NoHealthcheck {
		return nil
	}
	said := "no result yet"
	if n := len(h.Log); n > 0 && h.Log[n-1] != nil {
		said = fmt.Sprintf("last result: exit code %d, %q", h.Log[n-1].ExitCode, lastLine(h.Log[n-1].Output))
	}
	return fmt.Errorf("%s runs but its health check has not passed: %s, %s", s.Target.Name, h.Status, said)
}

func (s *subject) start(ctx context.Context, w World, c container.InspectResponse) error {
	return s.heavy(ctx, w, "start "+s.Target.Name, func(ctx context.Context) error {
		err := w.Engine.ContainerStart(ctx, s.Target.ID, container.StartOptions{})
		if errdefs.IsNotFound(err) {
			return nil // the next inspect says so
		}
		if err != nil {
			return holder{c: c, text: err.Error()}.name(ctx, w, err)
		}
		return nil
	})
}

// again restarts a container that waits out its engine's back-off, which grows
// to a minute. A start would do nothing: the engine calls it running.
func (s *subject) again(ctx context.Context, w World) error {
	return s.heavy(ctx, w, "restart "+s.Target.Name, func(ctx context.Context) error {
		return w.Engine.ContainerRestart(ctx, s.Target.ID, container.StopOptions{})
	})
}

func (s *subject) heavy(ctx context.Context, w World, what string, call func(context.Context) error) error {
	release, err := w.turn(ctx)
	if err != nil {
		return fmt.Errorf("%s: the engine has no room for it: %w", what, err)
	}
	defer release()
	return ask(ctx, startTimeout, what, call)
}

// replaced says what became of a container that is gone.
func (s *subject) replaced(ctx context.Context, w World) string {
	if c, err := inspect(ctx, w, s.Target.Name); err == nil && c.ID != s.Target.ID {
		return fmt.Sprintf("it was re-created as %s: not touched", short(c.ID))
	}
	return "it was removed: nothing to put back"
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	line := lines[len(lines)-1]
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	return line
}

func said(text string) string {
	if text == "" {
		return ""
	}
	return ", " + lastLine(text)
}

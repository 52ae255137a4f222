package crash

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"chaosrunner/runner/agent/enginetest"
)

// patience is how long anything is waited for: for ever, as machines go. No
// trial fails because it is slow.
const patience = 5 * time.Minute

// between is the pause between two looks at the world.
const between = 100 * time.Millisecond

// A state is how one target is.
type state struct {
	*container.State
	looks map[string]string // by the name of the look; where it runs
	blind string            // why one of them could not be had
}

// A world is what one trial may harm, and how it was before.
type world struct {
	engine  *client.Client
	targets [2]*enginetest.Container
	before  [2]state

	blown  time.Time // when the blow fell
	harmed bool      // a target has been seen harmed
	last   time.Time // when one was, last
	sealed [2]string // StartedAt, once nothing may be harmed any more; empty before
}

// see looks at a target.
func (w *world) see(i int) (state, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := w.engine.ContainerInspect(ctx, w.targets[i].ID)
	if err != nil {
		return state{}, fmt.Errorf("inspect %s: %w", w.targets[i].Name, err)
	}
	s := state{State: c.State, looks: map[string]string{}}
	if !enginetest.Up(c) {
		return s, nil
	}
	for _, l := range looks {
		words, err := l.see(c.State.Pid)
		if err != nil {
			s.blind = fmt.Sprintf("%s of %s cannot be seen: %v", l.name, w.targets[i].Name, err)
			break
		}
		s.looks[l.name] = words
	}
	return s, nil
}

// ready waits until both targets are as a trial wants to find them.
func (w *world) ready() error {
	for until := time.Now().Add(patience); ; time.Sleep(between) {
		all := true
		for i := range w.targets {
			st, err := w.see(i)
			if err != nil {
				return err
			}
			w.before[i] = st
			all = all && w.why(i, st) == "" && (st.Health == nil || st.Health.Status == container.Healthy)
		}
		if all {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("the targets are not ready: %+v, %+v", *w.before[0].State, *w.before[1].State)
		}
	}
}

// why says what a target has lost since before; empty if nothing.
func (w *world) why(i int, st state) string {
	name := w.targets[i].Name
	switch before := w.before[i]; {
	case !st.Running || st.Restarting || st.Dead || st.Pid == 0:
		return fmt.Sprintf("%s is %s (running %v, restarting %v, pid %d)", name, st.Status, st.Running, st.Restarting, st.Pid)
	case st.Paused:
		return name + " is paused"
	case st.blind != "":
		return st.blind
	case before.Health != nil && before.Health.Status == container.Healthy && st.Health.Status != container.Healthy:
		return fmt.Sprintf("%s was healthy and is %s", name, st.Health.Status)
	}
	return w.differs(i, st)
}

// differs says which look finds another world than before.
func (w *world) differs(i int, st state) string {
	for _, l := range looks {
		if was, is := w.before[i].looks[l.name], st.looks[l.name]; was != is {
			return fmt.Sprintf("%s of %s: was %q, is %q", l.name, w.targets[i].Name, was, is)
		}
	}
	return ""
}

// look compares with before. The text says what is harmed; once the world is
// sealed the error says what was harmed again.
func (w *world) look() (harm string, err error) {
	for i := range w.targets {
		st, err := w.see(i)
		if err != nil {
			return "", err
		}
		why := w.why(i, st)
		if why != "" {
			harm = why
			w.harmed, w.last = true, time.Now()
		}
		switch {
		case w.sealed[i] == "":
		case why != "":
			return harm, leak("harmed again after everything was undone: " + why)
		case st.StartedAt != w.sealed[i]:
			return harm, leak(fmt.Sprintf("%s was restarted after everything was undone: at %s, not %s", w.targets[i].Name, st.StartedAt, w.sealed[i]))
		}
	}
	return harm, nil
}

// seal says that from now on nothing may be harmed; what is harmed now is a
// leak. Health that may be late is waited for.
func (w *world) seal(sick [2]bool) error {
	for i := range w.targets {
		for until := time.Now().Add(patience); ; time.Sleep(between) {
			st, err := w.see(i)
			if err != nil {
				return err
			}
			why := w.why(i, st)
			if why == "" {
				w.sealed[i] = st.StartedAt
				break
			}
			if !sick[i] || !w.unwell(i, st) || time.Now().After(until) {
				w.harmed, w.last = true, time.Now()
				return leak(why)
			}
		}
	}
	return nil
}

// unwell says that a target lacks nothing but its health.
func (w *world) unwell(i int, st state) bool {
	if st.State.Health == nil {
		return false
	}
	well := *st.State
	well.Health = w.before[i].Health
	st.State = &well
	return w.why(i, st) == ""
}

// leak is a harm that stayed, or came back.
type leak string

func (l leak) Error() string { return "LEAK: " + string(l) }

//go:build crash

package crash

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	ledgers "chaosrunner/runner/agent"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/report"
)

// A world is what one trial may harm, and how it was before.
type world struct {
	engine  *client.Client
	targets [2]*enginetest.Container
	before  [2]*container.State

	blown  time.Time // when the blow fell
	harmed bool      // a target has been seen harmed
	last   time.Time // when one was, last
	sealed [2]string // StartedAt, once nothing may be harmed any more; empty before
}

// see asks the engine how a target is.
func (w *world) see(i int) (*container.State, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := w.engine.ContainerInspect(ctx, w.targets[i].ID)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", w.targets[i].Name, err)
	}
	return c.State, nil
}

// ready waits until both targets are as a trial wants to find them.
func (w *world) ready() error {
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
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
			return fmt.Errorf("the targets are not ready: %+v, %+v", *w.before[0], *w.before[1])
		}
	}
}

// why says what a target has lost since before; empty if nothing.
func (w *world) why(i int, st *container.State) string {
	switch before := w.before[i]; {
	case !st.Running || st.Restarting || st.Dead || st.Pid == 0:
		return fmt.Sprintf("%s is %s (running %v, restarting %v, pid %d)", w.targets[i].Name, st.Status, st.Running, st.Restarting, st.Pid)
	case st.Paused:
		return w.targets[i].Name + " is paused"
	case before.Health != nil && before.Health.Status == container.Healthy && st.Health.Status != container.Healthy:
		return fmt.Sprintf("%s was healthy and is %s", w.targets[i].Name, st.Health.Status)
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
			return harm, fmt.Errorf("harmed again after everything was undone: %s", why)
		case st.StartedAt != w.sealed[i]:
			return harm, fmt.Errorf("%s was restarted after everything was undone: at %s, not %s", w.targets[i].Name, st.StartedAt, w.sealed[i])
		}
	}
	return harm, nil
}

// seal says that from now on nothing may be harmed; what is harmed now is a leak.
func (w *world) seal() error {
	harm, err := w.look()
	if err != nil {
		return err
	}
	if harm != "" {
		return leak(harm)
	}
	for i := range w.targets {
		st, err := w.see(i)
		if err != nil {
			return err
		}
		w.sealed[i] = st.StartedAt
	}
	return nil
}

// leak is a harm that stayed.
type leak string

func (l leak) Error() string { return "LEAK: " + string(l) }

// settled says what a trial's folders lack after the last recover: there is no
// ledger, and each run that had begun has its result and one log entry.
func settled(dir string) error {
	left, err := ledgers.Status(filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("a ledger is left over: %+v", left)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "CHAOS_LOG.md"))
	runs, _ := filepath.Glob(filepath.Join(dir, "runs", "*"))
	for _, run := range runs {
		if info, err := os.Stat(filepath.Join(run, "journal.jsonl")); err != nil || info.Size() == 0 {
			continue // it had not begun
		}
		if _, err := os.Stat(filepath.Join(run, "result.json")); err != nil {
			return fmt.Errorf("the run has no result: %w", err)
		}
		if n := strings.Count(string(log), report.Marker(filepath.Base(run))); n != 1 {
			return fmt.Errorf("run %s has %d log entries, want 1", filepath.Base(run), n)
		}
	}
	return nil
}

// idle says that no ledger of the trial has anything in, or an epoch that is
// open, as far as its runs know: then the engine must agree.
func idle(dir string, closed bool) bool {
	all, err := ledgers.Status(filepath.Join(dir, "state"))
	if err != nil {
		return false
	}
	for _, s := range all {
		if len(s.In) > 0 || closed && s.Closed == "" {
			return false
		}
	}
	return true
}

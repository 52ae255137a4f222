package crash

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	ledgers "chaosrunner/runner/agent"
	"chaosrunner/runner/report"
)

// A place is where the agents of a trial run, and the folder of their ledgers.
// A container has that folder under the same path, so that one path leads every
// process to the trial's door.
type place struct {
	engine *client.Client
	dir    string // the trial's
	inside bool   // agents run in containers
}

// newPlace makes the folder of the ledgers.
func newPlace(engine *client.Client, dir string, inside bool) (place, error) {
	p := place{engine: engine, dir: dir, inside: inside}
	return p, os.MkdirAll(p.state(), 0o700)
}

func (p place) state() string { return filepath.Join(p.dir, "state") }

// flags tell the runner.
func (p place) flags() []string {
	if p.inside {
		return []string{"--agent", "container", "--state", p.state()}
	}
	return []string{"--agent", "local", "--state", p.state()}
}

// helpers are the containers of the trial's agents that are still there.
func (p place) helpers() (ids []string, err error) {
	if !p.inside {
		return nil, nil
	}
	found, err := p.engine.ContainerList(context.Background(), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("volume", p.state())),
	})
	for _, c := range found {
		ids = append(ids, c.ID)
	}
	return ids, err
}

// remove ends whatever is left of the place, after a trial that has failed too.
func (p place) remove() error {
	ids, err := p.helpers()
	for _, id := range ids {
		_ = p.engine.ContainerRemove(context.Background(), id, container.RemoveOptions{Force: true}) // it may be ending
	}
	return err
}

// settled says what a trial's folders lack after the last recover: there is no
// ledger, and each run that had begun has its result and one log entry.
func (p place) settled() error {
	left, err := ledgers.Status(p.state())
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("a ledger is left over: %+v", left)
	}
	log, _ := os.ReadFile(filepath.Join(p.dir, "CHAOS_LOG.md"))
	runs, _ := filepath.Glob(filepath.Join(p.dir, "runs", "*"))
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
func (p place) idle(closed bool) bool {
	all, err := ledgers.Status(p.state())
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

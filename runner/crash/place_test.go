package crash

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	ledgers "chaosrunner/runner/agent"
	"chaosrunner/runner/report"
)

// stateDir is where the ledgers of a trial lie, under its folder. An agent in a
// container finds them at the same path from its own root, which is the folder
// it works in, as the trial's is that of all others: so that one relative path
// leads every process to the trial's door.
const stateDir = "var/lib/runner"

// volumePrefix and the number of the test's process begin the name of a volume
// of ours.
const volumePrefix = "runnertest-crash-"

// A place is where the agents of a trial run and have their ledgers.
type place struct {
	engine *client.Client
	dir    string // the trial's
	volume string // empty: agents are children
}

// newPlace makes the state folder, and for agents in containers a volume that
// is that folder.
func newPlace(engine *client.Client, dir, id string, inside bool) (place, error) {
	p := place{engine: engine, dir: dir}
	if err := os.MkdirAll(p.state(), 0o700); err != nil {
		return p, err
	}
	if !inside {
		return p, nil
	}
	p.volume = volumePrefix + id
	_, err := engine.VolumeCreate(context.Background(), volume.CreateOptions{
		Name: p.volume, Driver: "local", DriverOpts: map[string]string{"type": "none", "o": "bind", "device": p.state()},
		Labels: map[string]string{"runner.test": fmt.Sprint(os.Getpid())},
	})
	return p, err
}

func (p place) state() string { return filepath.Join(p.dir, stateDir) }

// flags tell the runner.
func (p place) flags() []string {
	if p.volume != "" {
		return []string{"--agent", "container", "--volume", p.volume}
	}
	return []string{"--agent", "local", "--state", p.state()}
}

// helpers are the containers of the trial's agents that are still there.
func (p place) helpers() (ids []string, err error) {
	if p.volume == "" {
		return nil, nil
	}
	found, err := p.engine.ContainerList(context.Background(), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("volume", p.volume)),
	})
	for _, c := range found {
		ids = append(ids, c.ID)
	}
	return ids, err
}

// remove ends whatever is left of the place, after a trial that has failed too.
func (p place) remove() error {
	ids, err := p.helpers()
	if err != nil || p.volume == "" {
		return err
	}
	for _, id := range ids {
		_ = p.engine.ContainerRemove(context.Background(), id, container.RemoveOptions{Force: true}) // the volume's removal says so
	}
	for until := time.Now().Add(patience); ; time.Sleep(between) {
		err := p.engine.VolumeRemove(context.Background(), p.volume, false)
		if err == nil || time.Now().After(until) {
			return err
		}
	}
}

// sweepHelpers removes the helper containers of tests that were killed; their
// volumes are enginetest's to remove.
func sweepHelpers(t *testing.T, engine *client.Client) {
	left, err := engine.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("volume", volumePrefix))})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range left {
		for _, m := range c.Mounts {
			rest, ours := strings.CutPrefix(m.Name, volumePrefix)
			pid, _, _ := strings.Cut(rest, "-")
			if _, err := os.Stat("/proc/" + pid); ours && os.IsNotExist(err) {
				_ = engine.ContainerRemove(t.Context(), c.ID, container.RemoveOptions{Force: true}) // it may be ending
			}
		}
	}
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

package crash

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"chaosrunner/runner/agent/enginetest"
)

// A leak that is planted is reported: all are killed under their faults, and
// the ledger is gone before recover looks for it.
func TestSweepNotices(t *testing.T) {
	t.Parallel()
	engine := enginetest.Client(t)
	able, _ := possible()
	s := &sweep{t: t, engine: engine, runner: build(t), began: time.Now()}
	var err error
	if s.site, err = newSite(); err != nil {
		t.Fatal(err)
	}
	w := s.world(1, false)
	p := plan{
		step: "run-observe", nth: 2, remedy: "recover", first: able[0], second: able[0],
		blow: map[who]how{supervisor: kill, agent: kill, worker: kill}, order: []who{supervisor, agent, worker},
	}
	for tries := range atMost {
		_, err = s.once(p, w, tries, func(t *trial) {
			ledgers, _ := filepath.Glob(filepath.Join(t.place.state(), "*", "*.ledger"))
			for _, path := range ledgers {
				_ = os.Remove(path) // if not, no leak is reported
			}
		})
		if _, again := errors.AsType[missed](err); !again {
			break
		}
	}
	if !isLeak(err) || !strings.Contains(err.Error(), "is exited") {
		t.Errorf("two containers are down and nothing undoes that: got %v", err)
	}
}

// Every side of a target's world is looked at.
func TestWorldNotices(t *testing.T) {
	engine := enginetest.Client(t)
	for name, c := range map[string]struct {
		harm func(t *testing.T, k *enginetest.Container)
		want string
	}{
		"killed": {func(_ *testing.T, k *enginetest.Container) { k.Kill() }, "is exited"},
		"paused": {func(_ *testing.T, k *enginetest.Container) {
			k.Do("pause", func(ctx context.Context) error { return engine.ContainerPause(ctx, k.ID) })
		}, "is paused"},
		"a file": {func(t *testing.T, k *enginetest.Container) {
			if err := os.WriteFile(inside(k, dataDir+"/ballast"), make([]byte, 1<<20), 0o600); err != nil {
				t.Error(err)
			}
		}, "disk of"},
		"a file without a name": {func(t *testing.T, k *enginetest.Container) {
			f, err := os.CreateTemp(inside(k, dataDir), "ballast")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() }) // a test's
			if _, err := f.Write(make([]byte, 1<<20)); err != nil {
				t.Error(err)
			}
			if err := os.Remove(f.Name()); err != nil {
				t.Error(err)
			}
		}, "disk of"},
		"a limit": {func(_ *testing.T, k *enginetest.Container) {
			k.Do("update", func(ctx context.Context) error {
				_, err := engine.ContainerUpdate(ctx, k.ID, container.UpdateConfig{Resources: container.Resources{CPUQuota: 5000}})
				return err
			})
		}, "limits of"},
		"a process": {func(_ *testing.T, k *enginetest.Container) {
			k.Do("exec in", func(ctx context.Context) error {
				made, err := engine.ContainerExecCreate(ctx, k.ID, container.ExecOptions{Cmd: []string{"/app", "linger"}, Env: []string{"LISTEN=:8081"}})
				if err != nil {
					return err
				}
				return engine.ContainerExecStart(ctx, made.ID, container.ExecStartOptions{Detach: true})
			})
		}, "processes of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{engine: engine}
			for i := range w.targets {
				w.targets[i] = enginetest.Run(t, options(t, false))
			}
			if err := w.ready(); err != nil {
				t.Fatal(err)
			}
			if err := w.seal([2]bool{}); err != nil {
				t.Fatalf("nothing is harmed: got %v", err)
			}
			c.harm(t, w.targets[1])
			for until := time.Now().Add(patience); ; time.Sleep(between) { // a process takes its time to begin
				_, err := w.look()
				if isLeak(err) && strings.Contains(err.Error(), c.want) {
					break
				}
				if time.Now().After(until) {
					t.Fatalf("got %v, want a leak: %s", err, c.want)
				}
			}
		})
	}
}

// inside is a path of a target as this process sees it.
func inside(k *enginetest.Container, path string) string {
	return filepath.Join("/proc", strconv.Itoa(k.Inspect().State.Pid), "root", path)
}

// A process that an agent has left is found, wherever it runs.
func TestCastNotices(t *testing.T) {
	c := exec.Command("sleep", "600")
	c.Env = []string{"RUNNER_FAILPOINT=nowhere:meet:var/lib/runner/1-2-3.door"}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(patience); len(cast("1-2-3", nil)) != 1; time.Sleep(between) {
		if time.Now().After(until) {
			t.Fatal("it is not seen")
		}
	}
	if got := cast("1-2", nil); len(got) != 0 {
		t.Errorf("got %v of another trial", got)
	}
	_ = c.Process.Kill() // it is waited for
	_ = c.Wait()
	if got := cast("1-2-3", nil); len(got) != 0 {
		t.Errorf("got %v, and it is dead", got)
	}
}

package fault_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"chaosrunner/runner/agent/enginetest"
)

// A project is a Compose project of a test, with one service.
type project struct {
	t    testing.TB
	name string
	file string
}

// compose is the command there is.
func compose(t testing.TB) []string {
	t.Helper()
	enginetest.Client(t)
	if exec.Command("docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	if _, err := exec.LookPath("docker-compose"); err == nil {
		return []string{"docker-compose"}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("Docker Compose is missing")
	}
	t.Skip("Docker Compose is missing")
	return nil
}

func newProject(t testing.TB) *project {
	t.Helper()
	p := &project{t: t, name: fmt.Sprintf("runnertest%d%s", os.Getpid(), randomWord()), file: filepath.Join(t.TempDir(), "compose.yaml")}
	service := fmt.Sprintf(`version: "2.4"
services:
  app:
    image: runner-test:latest
    network_mode: none
    restart: always
    labels: {"runner.test": "%d", "chaos.allow": "true"}
`, os.Getpid())
	if err := os.WriteFile(p.file, []byte(service), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.do("down", "--timeout", "1") })
	p.do("up", "-d")
	return p
}

func randomWord() string { return fmt.Sprintf("%x", time.Now().UnixNano()&0xffffff) }

func (p *project) do(args ...string) {
	p.t.Helper()
	args = append(append(compose(p.t), "-p", p.name, "-f", p.file), args...)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Run(); err != nil {
		p.t.Errorf("%v: %v\n%s", args, err, said.String())
	}
}

func (p *project) app() *enginetest.Container { return enginetest.Service(p.t, p.name, "app") }

// A project that is taken down under the fault, or made anew: there is nothing
// to put back, and its successor is not touched.
func TestCompose(t *testing.T) {
	engine := enginetest.Client(t)
	for _, kind := range []struct{ name, params string }{{"kill", `{"stays_down":true}`}, {"pause", `{}`}, {"stop", `{"grace":1000000000}`}} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			f := inject(t, kind.name, kind.params, p.app().Target())
			p.do("up", "-d", "--force-recreate", "--timeout", "1")
			successor := p.app()
			before := successor.WaitFor("up", enginetest.Up)
			wantIn(t, "note", mustUndo(t, f, settled), "re-created")
			if now := successor.Inspect(); now.State.StartedAt != before.State.StartedAt || !enginetest.Up(now) {
				t.Errorf("its successor was touched: %+v", *now.State)
			}

			// Down: and a successor that somebody has stopped stays so.
			g := inject(t, kind.name, kind.params, successor.Target())
			p.do("down", "--timeout", "1")
			wantIn(t, "note", mustUndo(t, g, settled), "was removed")
			p.do("up", "--no-start")
			wantIn(t, "note", mustUndo(t, g, settled), "re-created")
			if now := p.app().Inspect(); now.State.Status != container.StateCreated {
				t.Errorf("a successor was started: %+v", *now.State)
			}
			if _, err := engine.ContainerInspect(t.Context(), successor.ID); err == nil {
				t.Error("compose down has left it")
			}
		})
	}
}

// A target that its restart policy has put into back-off under the fault, and
// whose trouble is over: it has no process, a start of the engine's would do
// nothing, and to wait may take a minute.
func TestBackOff(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{Env: []string{"CRASH_AGAIN=1"}, Policy: "always"}).Ready()
	f := inject(t, "kill", `{}`, k.Target())
	seen := k.WaitFor("in a back-off of 12.8 s", func(c container.InspectResponse) bool {
		return c.State.Restarting && c.RestartCount > 6
	})
	k.WriteFile("mended")
	if note, err := undo(t, f, settled, time.Minute); err != nil {
		t.Fatalf("got %q, %v", note, err)
	}
	now := k.Inspect()
	if !enginetest.Up(now) || now.State.StartedAt == seen.State.StartedAt {
		t.Errorf("undone, and the engine says %+v", *now.State)
	}
	if now.RestartCount != 0 { // a restart by hand sets it back
		t.Errorf("the undo has waited for restart %d of the policy", now.RestartCount)
	}
}

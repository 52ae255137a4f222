package uml

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Stage()
	playParts()
	os.Exit(m.Run())
}

// inside has the packages whose tests with the build tag "netem" run in the
// guest, below the module's root.
var inside = []string{
	"builtins/fault/netem/qdisc",
	"runner/crash/qdisc",
}

// modules is what those tests need of the kernel.
var modules = []string{
	"lib/crc-ccitt", "net/ipv6/ipv6",
	"net/sched/sch_netem", "net/sched/sch_prio", "net/sched/sch_tbf", "net/sched/sch_ingress",
	"net/sched/cls_bpf", "net/sched/act_mirred", "drivers/net/ifb", "drivers/net/veth", "drivers/net/dummy",
}

// margin is what is left of the test's time after the guest was killed.
const margin = 30 * time.Second

// TestInside runs them all, in one guest. UML_ONLY and UML_RUN, patterns of
// package and test, narrow it down.
func TestInside(t *testing.T) {
	need(t)
	ctx, cancel := deadline(t)
	defer cancel()
	g := Guest{Dir: t.TempDir(), Modules: modules, NoXState: Oversized()}
	patience := 24 * time.Hour // then a package's tests are killed, and say where they stand
	if end, set := t.Deadline(); set {
		patience = time.Until(end) - 2*margin
	}
	root := moduleRoot(t)
	g.Env = []string{"CI=" + os.Getenv("CI"), "RUNNER=" + runner(t, root, g.Dir),
		"UML_TRIALS=" + os.Getenv("UML_TRIALS"), "UML_SEED=" + os.Getenv("UML_SEED")}
	for i, name := range inside {
		if !strings.Contains(name, os.Getenv("UML_ONLY")) {
			continue
		}
		dir := filepath.Join(root, name)
		job := Job{
			Name: name, Dir: dir, Binary: filepath.Join(g.Dir, fmt.Sprintf("%d.test", i)), Timeout: patience,
			Args: []string{"-test.v=test2json", "-test.paniconexit0", "-test.run=" + os.Getenv("UML_RUN")},
		}
		build(t, job.Binary, dir)
		g.Jobs = append(g.Jobs, job)
	}
	results, err := g.Boot(ctx)
	for i, job := range g.Jobs {
		Replay(t, job, results[i])
	}
	if err != nil {
		t.Error(err)
	}
}

// build compiles the tests of the package in dir.
func build(t testing.TB, binary, dir string) {
	t.Helper()
	golang(t, dir, "test", "-c", "-tags", "netem", "-o", binary, ".")
	watch(t, dir)
}

// watch opens what a package of ours is made of, so that go test knows when its
// cached result is out of date.
func watch(t testing.TB, dir string) {
	t.Helper()
	const files = `{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}` +
		`{{range .TestGoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`
	for _, file := range strings.Fields(golang(t, dir, "list", "-deps", "-test", "-tags", "netem", "-f", files, ".")) {
		if f, err := os.Open(file); err == nil { // those that go test makes up are not there
			f.Close()
		}
	}
}

func golang(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		said := ""
		if exit, ok := err.(*exec.ExitError); ok {
			said = string(exit.Stderr)
		}
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return string(out)
}

// runner is the command that the sweep runs: the one of make test, or one made now.
func runner(t testing.TB, root, dir string) string {
	t.Helper()
	watch(t, filepath.Join(root, "runner"))
	if made := os.Getenv("RUNNER"); made != "" {
		return made
	}
	made := filepath.Join(dir, "runner")
	golang(t, root, "build", "-o", made, "./runner")
	return made
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(golang(t, "", "list", "-m", "-f", "{{.Dir}}"))
}

func deadline(t testing.TB) (context.Context, context.CancelFunc) {
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if end, set := d.Deadline(); set {
			return context.WithDeadline(context.Background(), end.Add(-margin))
		}
	}
	return context.WithCancel(context.Background())
}

// need skips where a guest cannot be booted, but not in CI.
func need(t testing.TB) {
	t.Helper()
	lacks := ""
	if os.Geteuid() != 0 {
		lacks = "root"
	} else if _, err := exec.LookPath(Kernel); err != nil {
		lacks = Kernel + " (Debian's package user-mode-linux)"
	}
	if lacks == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s, and CI must have it", lacks)
	}
	t.Skipf("needs %s", lacks)
}

//go:build netem

package qdisc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

func TestMain(m *testing.M) {
	if os.Getenv("QDISC_VICTIM") != "" {
		if err := victim(); err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A course is what a process does until it is killed.
type course struct {
	Jobs  []netem.Job
	Phase string // "apply" or "undo"
	Dies  int    // before which of its changes of the world
}

// victim runs a course in the namespace that it was given. Like the agent it
// writes each record to disk before it harms.
func victim() error {
	var c course
	if err := json.Unmarshal([]byte(os.Getenv("QDISC_VICTIM")), &c); err != nil {
		return err
	}
	ns := 3
	e, steps := New(), 0
	phase := "apply"
	e.step = func() {
		if phase != c.Phase {
			return
		}
		if steps++; steps == c.Dies {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // there is no way back
			select {}
		}
	}
	var in []netem.Held
	for i, job := range c.Jobs {
		record, err := e.Prepare(context.Background(), ns, job)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(os.Getenv("QDISC_DIR"), fmt.Sprint(i)), record, 0o600); err != nil {
			return err
		}
		h, err := e.Apply(context.Background(), ns, job, record)
		if err != nil {
			return err
		}
		in = append(in, h)
	}
	phase = "undo"
	for _, h := range in {
		if err := h.Undo(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

// Whoever holds a fault is killed before every single change that its apply and
// its undo make. What its records say is then taken back by another process,
// and nothing is left.
func TestKilledAtEachChange(t *testing.T) {
	out := newJob(netem.Filter{Direction: netem.Out, PeerPort: 80}, netem.Emulation{Delay: ms})
	both := newJob(netem.Filter{Direction: netem.Both, Peers: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}}, netem.Emulation{Loss: .5})
	same := newJob(out.Filter, netem.Emulation{Loss: .5})
	for name, jobs := range map[string][]netem.Job{"disjoint": {out, both}, "equal": {out, same}} {
		for _, phase := range []string{"apply", "undo"} {
			t.Run(name+" "+phase, func(t *testing.T) {
				a, _ := scratch.Pair(t)
				before := world(t, a)
				n := 1
				for killedAt(t, a, course{Jobs: jobs, Phase: phase, Dies: n}, before) {
					n++
				}
				if n <= 4 { // fewer cannot be
					t.Errorf("it was killed before %d changes only", n-1)
				}
				t.Logf("killed before each of %d changes", n-1)
			})
		}
	}
}

// killedAt runs one course, and mends; false says that it came to its end.
func killedAt(t *testing.T, ns *netns.Namespace, c course, before string) bool {
	t.Helper()
	text, err := json.Marshal(c)
	must(t, err)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "QDISC_VICTIM="+string(text), "QDISC_DIR="+dir)
	cmd.ExtraFiles = []*os.File{ns.File()}
	said, err := cmd.CombinedOutput()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err != nil && (!status.Signaled() || status.Signal() != syscall.SIGKILL) {
		t.Fatalf("the victim has failed: %v\n%s", err, said)
	}
	records, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	mender := New()
	for i := len(records) - 1; i >= 0; i-- { // the last first, as an agent does
		record, err := os.ReadFile(records[i])
		must(t, err)
		must(t, mender.Undo(context.Background(), ns.Fd(), record))
	}
	if after := world(t, ns); after != before {
		t.Fatalf("killed before change %d of its %s, and mended: got\n%s\nwant\n%s", c.Dies, c.Phase, after, before)
	}
	return status.Signaled()
}

// The world that these tests compare shows each of the things that could be left.
func TestWorldShowsLeftovers(t *testing.T) {
	e, a, _ := pair(t)
	before := world(t, a)
	h, _ := inject(t, e, a, newJob(netem.Filter{Direction: netem.Both}, netem.Emulation{Delay: ms}))
	seen := world(t, a)
	for _, part := range []string{"prio", "netem", "ingress", ifbOf(h.Base)} {
		if !strings.Contains(seen, part) || strings.Contains(before, part) {
			t.Errorf("%s does not tell: before\n%s\nunder the fault\n%s", part, before, seen)
		}
	}
}

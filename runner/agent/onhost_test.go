package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
	"chaosrunner/builtins/fault/proc"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

const nowhere = "DOCKER_HOST=unix:///no-engine-here.sock"

// netnsTarget names a namespace of this test's by a path.
func netnsTarget(n *netns.Namespace) string {
	return fmt.Sprintf("netns:/proc/%d/fd/%d", os.Getpid(), n.Fd())
}

// sleeper is a process that may be harmed.
func sleeper(t *testing.T) (pid int) {
	t.Helper()
	c := exec.Command("sleep", "600")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c.Process.Pid
}

func stopped(t testing.TB, pid int) bool {
	t.Helper()
	st, err := proc.Stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return st.Stopped()
}

// target resolves one expression.
func (c *child) target(expr string) (fault.Target, error) {
	var out protocol.Resolved
	if err := c.call(protocol.CallResolve, protocol.Resolve{Targets: []string{expr}}, &out); err != nil {
		return fault.Target{}, err
	}
	return out.Matches[0].Targets[0], nil
}

func (c *child) mustTarget(expr string) fault.Target {
	c.t.Helper()
	t, err := c.target(expr)
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

// roundTrip is how long b takes to refuse a connection of a.
func roundTrip(t *testing.T, a *netns.Namespace) time.Duration {
	t.Helper()
	began := time.Now()
	err := a.Inside(func() error {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(scratch.B4, 9).String(), 30*time.Second)
		if err == nil {
			return c.Close()
		}
		return err
	})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("got %v, want a refused connection", err)
	}
	return time.Since(began)
}

// A bare network namespace takes a network fault on a host without an engine,
// and is as it was after every ending.
func TestNetworkNamespace(t *testing.T) {
	scratch.Root(t)
	t.Parallel()
	const delay = 200 * time.Millisecond
	fast := func(a *netns.Namespace) {
		t.Helper()
		waitUntil(t, "traffic as it was", func() bool { return roundTrip(t, a) < delay })
	}
	a, _ := scratch.Pair(t)
	state, expr := t.TempDir(), netnsTarget(a)
	h := hello(state)
	h.Allow = []string{expr}
	c := start(t, h, nowhere)
	if c.welcome.EngineVersion != "" || c.welcome.EngineID != hostID() {
		t.Errorf("got %+v, want no engine", c.welcome)
	}
	order := func(id string) protocol.Apply {
		return order(id, "netem", `{"delay":200000000}`, c.mustTarget(expr))
	}
	c.apply(order("f1"))
	if took := roundTrip(t, a); took < delay {
		t.Errorf("a round trip took %v under a delay of %v", took, delay)
	}
	if err := c.call(protocol.CallUndo, protocol.Undo{IDs: []string{"f1"}}, nil); err != nil {
		t.Fatal(err)
	}
	fast(a)
	c.apply(order("f2"))
	c.kill()
	fast(a)
	r := hello(state)
	r.Run, r.Mode = "", protocol.ModeRecover
	if told := start(t, r, nowhere).told(); len(told) != 1 || len(told[0].Results) != 2 || told[0].Results[1].Error != "" {
		t.Errorf("got %+v", told)
	}
	if left := ledgers(t, state); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	fast(a)
}

// A process of the host is stopped and goes on, whatever ends the run.
func TestPausedProcess(t *testing.T) {
	scratch.Root(t)
	t.Parallel()
	state, pid := t.TempDir(), sleeper(t)
	expr := fmt.Sprintf("pid:%d", pid)
	run := func() *child {
		h := hello(state)
		h.Allow = []string{expr}
		return start(t, h, nowhere)
	}
	c := run()
	c.apply(order("f1", "pause", `{}`, c.mustTarget(expr)))
	if !stopped(t, pid) {
		t.Error("it runs")
	}
	wantCode(t, c.tries("f2", "pause", c.mustTarget(expr)), protocol.CodeRefused, "stopped already")
	_ = c.stdin.Close()
	waitUntil(t, "goes on after the EOF", func() bool { return !stopped(t, pid) })
	c.wait()

	start(t, recovering(state), nowhere).told() // its supervisor has not closed the ledger
	c = run()
	c.apply(order("f1", "pause", `{}`, c.mustTarget(expr)))
	c.kill()
	if !stopped(t, pid) {
		t.Error("nobody is left who could have let it go on")
	}
	told := start(t, recovering(state), nowhere).told()
	if len(told) != 1 || stopped(t, pid) {
		t.Errorf("got %+v, and it is stopped: %v", told, stopped(t, pid))
	}

	// The red button, on an agent that is dead and with no engine.
	c = run()
	c.apply(order("f1", "pause", `{}`, c.mustTarget(expr)))
	c.kill()
	t.Run("stop", func(t *testing.T) {
		s, err := stopWithout(t, state)
		if err != nil || len(s) != 1 || s[0].Error != "" || stopped(t, pid) {
			t.Errorf("got %+v, %v; stopped: %v", s, err, stopped(t, pid))
		}
	})
}

// stopWithout presses the red button in a process that has no engine.
func stopWithout(t *testing.T, state string) ([]Stopped, error) {
	t.Helper()
	m := newMender(nil, 0)
	paths, err := filepath.Glob(filepath.Join(state, hostID(), "*.ledger"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("got ledgers %v, %v", paths, err)
	}
	s, err := stopOne(t.Context(), paths[0], "", m)
	return []Stopped{*s}, err
}

func recovering(state string) protocol.Hello {
	h := hello(state)
	h.Run, h.Mode = "", protocol.ModeRecover
	return h
}

// Undo for one process never touches another that has got its number.
func TestPausedProcessGenerations(t *testing.T) {
	scratch.Root(t)
	t.Parallel()
	other := sleeper(t)
	if err := syscall.Kill(other, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "stopped", func() bool { return stopped(t, other) })
	was, err := fault.Host(fmt.Sprintf("pid:%d", other))
	if err != nil {
		t.Fatal(err)
	}
	was.ID += "0" // the generation before
	f, err := fault.Load("pause", []byte(`{"target":`+mustJSON(t, was)+`}`))
	if err != nil {
		t.Fatal(err)
	}
	note, err := f.Undo(t.Context(), fault.World{}, fault.Past{})
	if err != nil || note == "" || !stopped(t, other) {
		t.Errorf("got %q, %v; want the stranger left as it is", note, err)
	}
	if err := f.Apply(t.Context(), fault.World{}); !errors.Is(err, fault.ErrNotBegun) {
		t.Errorf("got %v, want it refused", err)
	}
}

// What is of the host is harmed only where the operator names it, and never what
// the host itself lives in.
func TestHostTargetsRefused(t *testing.T) {
	scratch.Root(t)
	t.Parallel()
	a := scratch.Namespace(t)
	pid := sleeper(t)
	blue, proc := netnsTarget(a), fmt.Sprintf("pid:%d", pid)
	root := fmt.Sprintf("netns:/proc/%d/ns/net", pid)
	self, parent := fmt.Sprintf("pid:%d", os.Getpid()), fmt.Sprintf("pid:%d", os.Getppid())
	h := hello(t.TempDir())
	h.Allow = []string{blue, proc, self, parent, "pid:1", "pid:2", root}
	h.Policy = &policy.File{Path: "p.yaml", Text: "longest: 10m\nnever: '" + parent + "'"}
	c := start(t, h, nowhere)
	for _, x := range []struct{ expr, kind, params, no string }{
		{blue, "pause", `{}`, "a network namespace takes netem and partition"},
		{blue, "kill", `{}`, "a network namespace takes netem and partition"},
		{proc, "kill", `{}`, "a process takes pause, netem and partition"},
		{root, "netem", `{"delay":1000000}`, "the host's network namespace"},
		{proc, "netem", `{"delay":1000000}`, "the host's network namespace"},
		{proc, "partition", `{"peers":["10.0.0.1"]}`, "root_netns: true"},
		{"pid:1", "pause", `{}`, "init"},
		{"pid:2", "pause", `{}`, "kernel's threads"},
		{self, "pause", `{}`, "ancestor of this agent"},
		{parent, "pause", `{}`, "p.yaml:2: never"},
	} {
		err := c.call(protocol.CallApply, order("f1", x.kind, x.params, c.mustTarget(x.expr)), nil)
		wantCode(t, err, protocol.CodeRefused, x.no)
	}
	for expr, want := range map[string]struct{ code, text string }{
		"pid:0":             {protocol.CodeBad, "the number of a process"},
		"pid:07":            {protocol.CodeBad, "the number of a process"},
		"pid:x":             {protocol.CodeBad, "the number of a process"},
		"pid:4194304":       {protocol.CodeNoTarget, "means nothing on this host"},
		"netns:":            {protocol.CodeBad, "ip netns"},
		"netns:../x":        {protocol.CodeBad, "ip netns"},
		"netns:/a/../b":     {protocol.CodeBad, "netns:/b"},
		"netns:not-there":   {protocol.CodeNoTarget, "/run/netns/not-there"},
		"netns:/etc/passwd": {protocol.CodeRefused, "is no network namespace"},
		"web":               {"failed", "Docker engine"},
	} {
		_, err := c.target(expr)
		wantCode(t, err, want.code, want.text)
	}
	other := sleeper(t)
	stranger := c.mustTarget(fmt.Sprintf("pid:%d", other))
	wantCode(t, c.tries("f9", "pause", stranger), protocol.CodeRefused, "--allow "+stranger.Name)
	stranger.Allowed = true // says who?
	wantCode(t, c.tries("f10", "pause", stranger), protocol.CodeRefused, "--allow "+stranger.Name)
	past := c.mustTarget(proc)
	past.ID += "0"
	wantCode(t, c.tries("f11", "pause", past), protocol.CodeRefused, "another one by now")
	if stopped(t, pid) || stopped(t, other) {
		t.Error("it was touched")
	}
}

// What is a container's is meant by its container, which has a label and a policy.
func TestHostTargetsOfContainers(t *testing.T) {
	t.Parallel()
	web := enginetest.Run(t, enginetest.Options{Closed: true, Network: "bridge"})
	proc := fmt.Sprintf("pid:%d", web.Inspect().State.Pid)
	space := fmt.Sprintf("netns:/proc/%d/ns/net", web.Inspect().State.Pid)
	free := fmt.Sprintf("pid:%d", sleeper(t))
	h := hello(t.TempDir())
	h.Allow = []string{proc, space, free}
	c := start(t, h)
	for _, expr := range []string{proc, space} {
		_, err := c.target(expr)
		wantCode(t, err, protocol.CodeRefused, "belongs to container "+web.Name)
	}
	c.apply(order("f1", "pause", `{}`, c.mustTarget(free))) // with an engine as without
}

// Without an engine nothing of one may be taken for settled.
func TestHostWithoutEngine(t *testing.T) {
	t.Parallel()
	web := enginetest.Run(t, enginetest.Options{})
	state := t.TempDir()
	wantErr := func(h protocol.Hello, part string) {
		t.Helper()
		err := spawn(t, nowhere).listen().greet(h)
		if err == nil {
			t.Errorf("got a welcome, want %q", part)
			return
		}
		wantIn(t, err.Error(), "Docker engine", part)
	}
	wantErr(hello(state), "")      // nothing of the host is allowed
	wantErr(recovering(state), "") // nor has anything of it ever been harmed
	h := hello(state)
	h.Allow = []string{"pid:1"}
	c := start(t, h, nowhere)
	if err := c.call(protocol.CallClose, nil, nil); err != nil {
		t.Fatal(err)
	}
	start(t, recovering(state), nowhere) // by now it has
	with := start(t, hello(state))
	with.apply(order("f1", "pause", `{}`, web.Target()))
	with.kill()
	wantErr(recovering(state), "have left waits for it")
	if told := recovered(t, state); len(told) != 1 || paused(web.Inspect()) {
		t.Errorf("got %+v", told)
	}
}

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netns/scratch"
)

// A host without an engine: a process is harmed and put back, and status, stop
// and recover work as ever.
func TestProcessOnAHostWithoutAnEngine(t *testing.T) {
	scratch.Root(t)
	t.Parallel()
	l := &lab{t: t, dir: t.TempDir()}
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	victim := exec.Command("sleep", "600")
	victim.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = victim.Process.Kill(); _ = victim.Wait() })
	state := func(want string) {
		t.Helper()
		for until := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", victim.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(raw), ") "+want+" ") {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("got %s, want state %s", raw, want)
			}
		}
	}
	expr := fmt.Sprintf("pid:%d", victim.Process.Pid)
	script := func(seconds int) string {
		return l.write("exp.star", fmt.Sprintf(`
hypothesis("web answers while a process stands still")
blast_radius(targets = [%[1]q], duration = "600s")
steady_state(baseline = "500ms", within = "2m")
load_ = traffic(%[2]q, arrivals = "50/s", timeout = "5s", expect = 404)
availability = slo("availability", load_.success, min = 0.5)
abort_if(availability, below = 0.01, lasting = "60s")

def method():
    pause(%[1]q, duration = "%[3]ds")
`, expr, web.URL+"/", seconds))
	}
	env := []string{"DOCKER_HOST=unix:///no-engine-here.sock"}
	run := func(args ...string) *proc { return l.startEnv(env, args...) }
	p := run(script(1), "--allow", expr)
	p.exits(0)
	p.says("pause is in place on " + expr)
	state("S")
	run(script(1)).exits(64) // nothing of the host is allowed, and there is nothing else

	p = run(script(500), "--allow", expr)
	p.says("is in place")
	state("T")
	s := run("status")
	s.exits(0)
	s.says("injected .* ago: stop " + expr)
	run("stop").exits(0)
	state("S")
	p.exits(143)

	p = run(script(500), "--allow", expr)
	p.says("is in place")
	for _, name := range []string{"supervisor", "agent"} {
		l.signal(name, syscall.SIGSTOP)
	}
	for _, name := range []string{"agent", "supervisor"} {
		l.signal(name, syscall.SIGKILL)
	}
	<-p.ended
	state("T")
	run("recover").exits(0)
	state("S")
	s = run("recover")
	s.exits(0)
	s.says("nothing to undo")
}

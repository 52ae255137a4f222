package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"chaosrunner/runner/agent/enginetest"
)

// Two people on one engine, each with a container of their own; a third who
// wants one of these is refused before anything is touched, and so is a fourth
// who does not share.
func TestSharedRuns(t *testing.T) {
	l := newLab(t)
	other := enginetest.Run(t, enginetest.Options{Network: "bridge"}).Ready()
	script := func(name string, target *enginetest.Container) string {
		return l.write(name, fmt.Sprintf(`
hypothesis("web answers while another is paused")
blast_radius(targets = [%[2]q], duration = "600s")
steady_state(baseline = "500ms", within = "2m")
load_ = traffic("http://%[1]s:8080/metrics", arrivals = "50/s", timeout = "5s")
availability = slo("availability", load_.success, min = 0.9)
abort_if(availability, below = 0.01, lasting = "60s")

def method():
    pause(%[2]q)
    observe("590s")
`, l.web.Name, target.Name))
	}
	one := l.start("--shared", script("one.star", l.victim))
	one.says("is in place")
	l.inside = true // beside a child an agent in a container
	l.noneLeft(t)
	two := l.start("--shared", script("two.star", other))
	two.says("is in place")
	for _, c := range []*enginetest.Container{l.victim, other} {
		if !c.Inspect().State.Paused {
			t.Errorf("%s is not paused", c.Name)
		}
	}
	if said := l.once(0, "status"); strings.Count(said, ", shared") != 2 {
		t.Errorf("status does not tell of both:\n%s", said)
	}
	l.inside = false
	said := l.once(64, "--shared", script("three.star", other))
	if !strings.Contains(said, "three.star:10:10: pause: run ") || !strings.Contains(said, "-two (agent pid") || !strings.Contains(said, "holds container "+other.Name) {
		t.Errorf("want a refusal at the script's line that names the run:\n%s", said)
	}
	said = l.once(64, script("four.star", l.web))
	if !strings.Contains(said, "-one (agent pid") || !strings.Contains(said, "-two (agent pid") {
		t.Errorf("want a refusal that names both:\n%s", said)
	}
	for _, p := range []*proc{one, two} {
		if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		p.exits(130)
	}
	l.back()
	other.WaitFor("back", enginetest.Up)
}

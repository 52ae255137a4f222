package main

import (
	"strings"
	"testing"
)

// The operator's policy is shown by plan, and refuses a run at the script's line
// and the policy's, before anything is touched.
func TestPolicy(t *testing.T) {
	l := newLab(t)
	l.write("loose.yaml", "kinds: [kill, pause]\nlongest: 20s\n")
	l.write("strict.yaml", "\nlongest: 19s\n")
	script := l.write("exp.star", `
hypothesis("web answers")
blast_radius(targets = ["`+l.victim.Name+`"], duration = "20s")
load_ = traffic("http://`+l.web.Name+`:8080/metrics", arrivals = "50/s", timeout = "5s")
availability = slo("availability", load_.success, min = 0.9)
abort_if(availability, below = 0.5)

def method():
    kill("`+l.victim.Name+`")
    observe("1s")
`)
	began := l.victim.Inspect().State.StartedAt
	plan := l.once(0, "plan", "--policy", "loose.yaml", script)
	for _, part := range []string{"policy        only kill, pause (loose.yaml:1)", "no fault lasts longer than 20s (loose.yaml:2)"} {
		if !strings.Contains(plan, part) {
			t.Errorf("want %q in the plan:\n%s", part, plan)
		}
	}
	for _, how := range []string{"plan", "run"} {
		said := l.once(64, how, "--policy", "strict.yaml", script)
		if want := "exp.star:9:9: kill: policy strict.yaml:2: longest: got a fault that may last 20s, want at most 19s: give it a duration"; !strings.Contains(said, want) {
			t.Errorf("%s: want %q:\n%s", how, want, said)
		}
	}
	if l.victim.Inspect().State.StartedAt != began {
		t.Error("it was touched")
	}
}

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
)

// withInvariant is an experiment that kills the victim for seconds, and asks
// it whether it lives.
func (l *lab) withInvariant(seconds int, declaration string) string {
	return l.write("exp.star", fmt.Sprintf(`
def before():
    r = http("http://%[2]s:8080/metrics")
    return r.status

def alive(status):
    r = http("http://%[2]s:8080/metrics", timeout = "1s")
    return 1 if r.status == status else 0

def told(status):
    return 1 if http("http://%[2]s:8080/metrics", timeout = "1s").status == status else None

def web():
    return http("http://%[1]s:8080/metrics").status

hypothesis("the victim lives on")
blast_radius(targets = [%[2]q], duration = "30s")
steady_state(baseline = "500ms", within = "15s")
load_ = traffic("http://%[1]s:8080/metrics", arrivals = "200/s", timeout = "1s")
availability = slo("availability", load_.success, min = 0.9, recovers_within = "15s")
abort_if(availability, below = 0.5, lasting = "400ms")
%[4]s

def method():
    kill(%[2]q, duration = "%[3]ds")
`, l.web.Name, l.victim.Name, seconds, declaration))
}

func (l *lab) row(name string) report.SLO {
	for _, s := range l.result().SLOs {
		if s.Name == name {
			return s
		}
	}
	l.t.Fatalf("the result has no %s", name)
	return report.SLO{}
}

func TestInvariant(t *testing.T) {
	t.Run("violated too long", func(t *testing.T) {
		l := newLab(t)
		p := l.start(l.withInvariant(12, `invariant("life", alive, equals = 1, within = "3s", before = before)`))
		p.says(`invariant life is violated: 0.00, want = 1`)
		p.exits(1)
		l.back()
		s := l.row("life")
		if s.Before == nil || *s.Before.Value != 1 || s.During == nil || *s.During.Value != 0 || s.During.Verdict != report.Broke || !strings.Contains(s.During.Note, "at a stretch, want at most 3s") {
			t.Errorf("got before %+v, during %+v", s.Before, s.During)
		}
		if s.After == nil || *s.After.Value != 1 || s.After.Verdict != report.Held || s.Recovered == nil || s.Late {
			t.Errorf("got after %+v, recovered %v", s.After, s.Recovered)
		}
		if log := l.log(); !strings.Contains(log, "| life = 1 | 1.00 | 0.00 (n=") {
			t.Errorf("the log has no row of it:\n%s", log)
		}
		looks := 0
		for _, e := range l.events() {
			if d, ok := e.Data.(journal.Invariant); ok && d.Violated {
				looks++
			}
			if _, ok := e.Data.(journal.HTTP); ok {
				t.Error("each look of an invariant is told as a probe")
			}
		}
		if looks < 2 {
			t.Errorf("the journal has %d violated looks", looks)
		}
	})
	t.Run("given time", func(t *testing.T) {
		l := newLab(t)
		l.once(0, l.withInvariant(5, `invariant("life", alive, equals = 1, within = "60s", before = before)`))
		l.back()
		if s := l.row("life"); s.During == nil || s.During.Verdict != report.Held || s.After == nil || s.After.Verdict != report.Held {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("cannot be told", func(t *testing.T) {
		l := newLab(t)
		l.once(0, l.withInvariant(5, `invariant("life", told, min = 1, within = "60s", before = before)`))
		l.back()
		if s := l.row("life"); s.After == nil || s.After.Verdict != report.Held {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("not at the baseline", func(t *testing.T) {
		l := newLab(t)
		p := l.start(l.withInvariant(5, `invariant("web", web, min = 500, within = "1s")`))
		p.exits(64)
		p.says(`no steady state, so nothing was injected: invariant web: got 200.00, want ≥ 500`)
		if seen := l.victim.Inspect(); !enginetest.Up(seen) || seen.RestartCount > 0 {
			t.Errorf("it was harmed all the same: %+v", *seen.State)
		}
	})
}

// The functions of an invariant may look at declared places only, and a run is
// refused before any harm where one fails.
func TestInvariantOutside(t *testing.T) {
	l := newLab(t)
	other := enginetest.Run(t, enginetest.Options{})
	script := l.withInvariant(5, `invariant("other", lambda_, equals = 200)`)
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "def web():", fmt.Sprintf("def lambda_():\n    return http(\"http://%s:8080/\").status\n\ndef web():", other.Name), 1)
	p := l.start(l.write("exp.star", changed))
	p.exits(64)
	p.says(`invariant other: .*exp.star:\d+:\d+: http: .* is no declared place`)
	l.back()
}

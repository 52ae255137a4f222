package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/report"
)

func TestPauseStopRestart(t *testing.T) {
	for kind, c := range map[string]struct {
		call string
		in   func(enginetest.State, string) bool // whether the fault is in; the string is StartedAt before
	}{
		"pause":   {`pause(%q, duration = "1500ms")`, func(s enginetest.State, _ string) bool { return s.State.Paused }},
		"stop":    {`stop(%q, duration = "1500ms", grace = "1s")`, func(s enginetest.State, _ string) bool { return !s.State.Running }},
		"restart": {`restart(%q, grace = "1s")`, func(s enginetest.State, began string) bool { return s.State.StartedAt != began }},
		"crash":   {`kill(%q, stays_down = False, duration = "1500ms")`, func(s enginetest.State, _ string) bool { return !s.State.Running }},
	} {
		t.Run(kind, func(t *testing.T) {
			l := newLab(t)
			began := l.victim.Inspect().State.StartedAt
			p := l.start(l.script(l.web, fmt.Sprintf(c.call, l.victim.Name), `observe("1s")`))
			p.says("is in place")
			if seen := l.victim.Inspect(); !c.in(seen, began) {
				t.Errorf("the engine does not show the fault: %+v", *seen.State)
			}
			p.exits(0)
			l.back()
		})
	}
}

func TestFalseExpect(t *testing.T) {
	l := newLab(t)
	script := l.script(l.web,
		`kill("`+l.victim.Name+`")`,
		`w = observe("500ms")`,
		`expect(w[availability].value > 2, "impossible")`,
		`observe("10s")`)
	p := l.underFault(script)
	p.exits(1)
	l.back()
	r := l.result()
	if r.Verdict != report.Broke || r.Ending != report.Completed || !strings.Contains(r.Reason, "impossible") {
		t.Errorf("got %s, %s (%s); want broke, completed, for the expectation", r.Verdict, r.Ending, r.Reason)
	}
	p = l.start("--expect", "broke", script)
	p.exits(0)
	l.back()
}

// A rollback function leaves its trace as a request to web, which its log has.
func (l *lab) withRollback(lines ...string) string {
	script := l.script(l.web, append([]string{`rollback(mend, "` + l.web.Name + `", 3)`}, lines...)...)
	text, err := os.ReadFile(script)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.write("exp.star", `
def mend(host, n):
    for i in range(n):
        r = http("http://%s:8080/metrics" % host)
        note("mended %d: %d" % (i + 1, r.status))
`+string(text))
}

func TestRollbackFunctions(t *testing.T) {
	t.Run("end of method", func(t *testing.T) {
		l := newLab(t)
		p := l.start(l.withRollback(`kill("` + l.victim.Name + `", duration = "500ms")`))
		p.exits(0)
		p.says("mended 3: 200")
	})
	t.Run("worker killed", func(t *testing.T) {
		l := newLab(t)
		p := l.underFault(l.withRollback(`kill("`+l.victim.Name+`")`, `observe("60s")`))
		l.signal("worker", syscall.SIGKILL)
		p.exits(5)
		p.says("mended 3: 200") // by a fresh worker, from what was shipped
		l.back()
	})
	t.Run("all killed", func(t *testing.T) {
		l := newLab(t)
		l.underFault(l.withRollback(`kill("`+l.victim.Name+`")`, `observe("60s")`))
		l.signal("supervisor", syscall.SIGSTOP)
		l.signal("agent", syscall.SIGKILL)
		l.signal("supervisor", syscall.SIGKILL)
		l.gone()
		if err := os.Remove(l.dir + "/exp.star"); err != nil { // the ledger has its own copy
			t.Fatal(err)
		}
		l.once(0, "recover")
		l.back()
		if log := l.log(); !strings.Contains(log, "rollback mend done") {
			t.Errorf("the log does not tell of the rollback:\n%s", log)
		}
		if said := l.once(0, "status"); !strings.Contains(said, "nothing runs") {
			t.Errorf("a ledger is left:\n%s", said)
		}
	})
}

func TestBlastRadius(t *testing.T) {
	l := newLab(t)
	other := enginetest.Run(t, enginetest.Options{})
	text := func(radius, method string) string {
		return l.write("exp.star", fmt.Sprintf(`
hypothesis("web answers")
blast_radius(%[1]s)
steady_state(baseline = "500ms", within = "10s")
load_ = traffic("http://%[2]s:8080/metrics", arrivals = "100/s")
availability = slo("availability", load_.success, min = 0.9)
abort_if(availability, below = 0.5)

def method():
    %[3]s
`, radius, l.web.Name, method))
	}
	// Two at once where one is allowed: refused by the gate, nothing touched.
	began := l.victim.Inspect().State.StartedAt
	said := l.once(64, text(fmt.Sprintf(`targets = [%q, %q], duration = "20s", at_most = 1`, l.victim.Name, other.Name),
		fmt.Sprintf(`kill([%q, %q], duration = "1s")`, l.victim.Name, other.Name)))
	if !strings.Contains(said, "at_most") || !strings.Contains(said, "exp.star:10:") {
		t.Errorf("want a refusal at the line:\n%s", said)
	}
	if l.victim.Inspect().State.StartedAt != began {
		t.Errorf("the victim was touched")
	}
	// The cap passes: everything is undone, and the run says so.
	p := l.start(text(fmt.Sprintf(`targets = [%q], duration = "2s"`, l.victim.Name),
		// What a rehearsal cannot know: the probe takes its time.
		fmt.Sprintf("kill(%q)\n    observe(\"500ms\")\n    http(\"http://%s:8080/slow\", timeout = \"5s\")\n    observe(\"500ms\")", l.victim.Name, l.web.Name)))
	p.exits(3)
	l.back()
	if r := l.result(); !strings.Contains(r.Reason, "blast radius") || r.Verdict != report.Inconclusive {
		t.Errorf("got %s (%s), want inconclusive for the blast radius' duration", r.Verdict, r.Reason)
	}
}

func TestPickIsSeeded(t *testing.T) {
	l := newLab(t)
	other := enginetest.Run(t, enginetest.Options{})
	script := l.script(l.web, fmt.Sprintf(`kill(pick([%q, %q], n = 1), duration = "500ms")`, l.victim.Name, other.Name))
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	script = l.write("exp.star", strings.Replace(string(text), fmt.Sprintf("targets = [%q]", l.victim.Name),
		fmt.Sprintf("targets = [%q, %q]", l.victim.Name, other.Name), 1))
	plan := l.once(0, "plan", "--seed", "7", script)
	p := l.start("--seed", "7", script)
	p.exits(0)
	r := l.result()
	if len(r.Faults) != 1 || !strings.Contains(plan, "kill -9 "+r.Faults[0].Target) || r.Seed != 7 {
		t.Errorf("got %+v, want the one that the plan has told:\n%s", r.Faults, plan)
	}
}

// TestReaderGoesAway: `runner exp.star | head -1` does not end the run early.
func TestReaderGoesAway(t *testing.T) {
	l := newLab(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	script := l.script(l.web, `kill("`+l.victim.Name+`", duration = "500ms")`)
	p := l.startCommand("sh", "-c", fmt.Sprintf("{ %s --state state %s; echo code $? >&2; } | head -1", path, script))
	p.says("code 0")
	p.exits(0)
	l.back()
}

// TestWedgedTerminal: nobody reads what the run prints, and still it ends and
// its journal is whole.
func TestWedgedTerminal(t *testing.T) {
	l := newLab(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	script := l.script(l.web, `kill("`+l.victim.Name+`", duration = "500ms")`, `for i in range(900): note("x" * 200)`)
	p := l.startCommand("sh", "-c", fmt.Sprintf("%s --state state %s | sleep 60", path, script))
	for until := time.Now().Add(50 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err := os.Stat(l.dir + "/CHAOS_LOG.md"); err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the run waits for its reader")
		}
	}
	l.back()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the sleep with it
}

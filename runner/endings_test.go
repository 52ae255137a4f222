package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/report"
)

// Every test here kills the victim in a real run, ends the run in one way, and
// asks the engine whether the victim is back.

const inPlace = `kill is in place`

// killAndWait is a method that waits for long under the fault.
func (l *lab) killAndWait() string {
	return l.script(l.web, `kill("`+l.victim.Name+`")`, `observe("60s")`)
}

// underFault starts a run and waits until the fault is in.
func (l *lab) underFault(script string) *proc {
	l.t.Helper()
	p := l.start(script)
	p.says(inPlace)
	l.down()
	return p
}

func TestEndOfMethod(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.script(l.web, `kill("`+l.victim.Name+`", duration = "1s")`))
	p.exits(0)
	l.back()
	l.gone()
	r := l.result()
	if r.Verdict != report.Held || r.Ending != report.Completed || len(r.Stuck) != 0 {
		t.Errorf("got %s, %s, stuck %v; want held, completed", r.Verdict, r.Ending, r.Stuck)
	}
	if len(r.SLOs) != 1 || r.SLOs[0].Before == nil || r.SLOs[0].During == nil || r.SLOs[0].After == nil || r.SLOs[0].During.Count < 100 {
		t.Errorf("got objectives %+v, want one with figures before, during and after", r.SLOs)
	}
	if during := r.SLOs[0].During; during != nil {
		if n, bad := l.recount(during.From, during.To); n != during.Count || bad != during.Bad {
			t.Errorf("the run's own file has %d requests under the fault, %d of them bad; the report says %d, %d", n, bad, during.Count, during.Bad)
		}
	}
	if log := l.log(); !strings.Contains(log, "· exp · held") || !strings.Contains(log, "kill -9 "+l.victim.Name) {
		t.Errorf("the log does not tell of it:\n%s", log)
	}
}

func TestErrorInTheScript(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.script(l.web,
		`kill("`+l.victim.Name+`")`,
		`observe("500ms")`,
		`if "up 1" in http("http://`+l.web.Name+`:8080/metrics").body:`,
		`    fail("boom")`))
	p.exits(5)
	l.back()
	l.gone()
	if said := p.out.String(); !strings.Contains(said, "exp.star:") || !strings.Contains(said, "boom") || strings.Contains(said, "goroutine") {
		t.Errorf("want the error at the script's line, without a Go stack")
	}
}

func TestAbort(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.script(l.victim, `kill("`+l.victim.Name+`")`, `observe("60s")`))
	p.exits(3)
	l.back()
	l.gone()
	r := l.result()
	if r.Verdict != report.Broke || r.Ending != report.Aborted || r.Abort == nil || r.Abort.Blind {
		t.Errorf("got %s, %s, %+v; want broke, aborted on the objective", r.Verdict, r.Ending, r.Abort)
	}
	if said := p.out.String(); !strings.Contains(said, "aborted after ") || !strings.Contains(said, "want ≥ 0.5") {
		t.Errorf("want the line that says why")
	}
}

func TestCtrlC(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.killAndWait())
	for range 10 { // an impatient hand
		l.signal("supervisor", syscall.SIGINT)
		time.Sleep(time.Millisecond)
	}
	p.exits(130)
	l.back()
	l.gone()
	if r := l.result(); r.Ending != report.Interrupted || len(r.Faults) != 1 || r.Faults[0].Undone.IsZero() {
		t.Errorf("got %s, %+v; want interrupted with the fault undone", r.Ending, r.Faults)
	}
}

func TestOtherSignals(t *testing.T) {
	for s, want := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGHUP: 143, syscall.SIGQUIT: 130, syscall.SIGTSTP: 130} {
		t.Run(s.String(), func(t *testing.T) {
			l := newLab(t)
			p := l.underFault(l.killAndWait())
			l.signal("supervisor", s)
			p.exits(want)
			l.back()
			l.gone()
		})
	}
}

func TestSupervisorKilled(t *testing.T) {
	l := newLab(t)
	l.underFault(l.killAndWait())
	died := time.Now()
	l.signal("supervisor", syscall.SIGKILL)
	l.victim.WaitFor("up", enginetest.Up)
	t.Logf("SIGKILL of the supervisor to the victim up: %v", time.Since(died))
	l.back()
	l.gone()
	// The next start tells the log how that run ended.
	l.once(0, "recover")
	if r := l.result(); r.Ending != report.Failed || len(r.Faults) != 1 || len(r.Stuck) != 0 {
		t.Errorf("got %s with %+v, stuck %v; want failed, the fault undone", r.Ending, r.Faults, r.Stuck)
	}
	if log := l.log(); strings.Count(log, "· exp · failed") != 1 {
		t.Errorf("want one entry, failed:\n%s", log)
	}
	l.once(0, "recover")
	if log := l.log(); strings.Count(log, "· exp · failed") != 1 {
		t.Errorf("want no second entry:\n%s", log)
	}
}

func TestSupervisorStopped(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.killAndWait())
	l.signal("supervisor", syscall.SIGSTOP)
	l.back()
	l.signal("supervisor", syscall.SIGCONT) // it wakes up and must not go on
	p.exits(5)
	l.stays(time.Second)
	l.gone()
	if r := l.result(); !strings.Contains(r.Reason, "silence") {
		t.Errorf("got reason %q, want the agent's: silence", r.Reason)
	}
}

func TestWorkerKilled(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.killAndWait())
	l.signal("worker", syscall.SIGKILL)
	p.exits(5)
	l.back()
	l.gone()
}

func TestWorkerStopped(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.script(l.web, `kill("`+l.victim.Name+`")`, `observe("500ms")`, `observe("500ms")`))
	l.signal("worker", syscall.SIGSTOP)
	p.exits(5)
	l.back()
	l.gone()
	if r := l.result(); !strings.Contains(r.Reason, "hangs") {
		t.Errorf("got reason %q, want that the script hangs", r.Reason)
	}
}

func TestAgentKilled(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.killAndWait())
	l.signal("agent", syscall.SIGKILL)
	p.exits(5)
	l.back()
	l.gone()
	if r := l.result(); len(r.Stuck) != 0 || len(r.Faults) != 1 || r.Faults[0].Undone.IsZero() {
		t.Errorf("got %+v, stuck %v; want the fault undone by a second agent", r.Faults, r.Stuck)
	}
}

func TestAgentStopped(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.killAndWait())
	l.signal("agent", syscall.SIGSTOP)
	p.exits(5)
	l.back()
	l.gone()
	if r := l.result(); len(r.Stuck) != 0 || !strings.Contains(r.Reason, "heartbeat") {
		t.Errorf("got reason %q, stuck %v; want the unanswered heartbeat", r.Reason, r.Stuck)
	}
}

// An agent that stands still before its welcome is not waited for as one that
// undoes what dead runs have left: nothing was injected, and the engine is free.
func TestAgentStoppedBeforeItsWelcome(t *testing.T) {
	l := newLab(t)
	script := l.script(l.web, `kill("`+l.victim.Name+`", duration = "1s")`)
	p := l.startEnv([]string{"RUNNER_FAILPOINT=after-lock:stop"}, script)
	p.exits(64)
	if said := p.out.String(); !strings.Contains(said, "no answer to a heartbeat") || !strings.Contains(said, "before its welcome") {
		t.Errorf("want the reason")
	}
	l.start(script).exits(0)
}

func TestAllKilled(t *testing.T) {
	l := newLab(t)
	l.underFault(l.killAndWait())
	l.signal("supervisor", syscall.SIGSTOP) // so that none of them sees another die
	l.signal("agent", syscall.SIGSTOP)
	for _, name := range []string{"agent", "supervisor"} {
		l.signal(name, syscall.SIGKILL)
	}
	l.gone()
	l.down() // nobody is left who could have undone it
	if said := l.once(0, "status"); !strings.Contains(said, "dead") || !strings.Contains(said, "kill -9 "+l.victim.Name) {
		t.Errorf("status does not tell what a dead run has left:\n%s", said)
	}
	l.once(0, "recover")
	l.back()
	if log := l.log(); strings.Count(log, "· exp · failed") != 1 {
		t.Errorf("want one entry, failed:\n%s", log)
	}
	if said := l.once(0, "status"); !strings.Contains(said, "nothing is injected") {
		t.Errorf("status after recover:\n%s", said)
	}
}

// A supervisor that dies between its last event and its documents has ended its
// run: they are written by the next start, and say what the run came to.
func TestKilledBeforeItsDocuments(t *testing.T) {
	l := newLab(t)
	script := l.script(l.web, `kill("`+l.victim.Name+`", duration = "1s")`)
	p := l.startEnv([]string{"RUNNER_FAILPOINT=run-log:kill"}, script)
	p.exits(-1)
	l.back()
	files, err := filepath.Glob(filepath.Join(l.dir, "runs", "*", "result.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte(`{"run": "2`), 0o644); err != nil { // as if it had died a moment earlier
		t.Fatal(err)
	}
	for range 2 { // the second adds nothing
		l.once(0, "recover")
		if r := l.result(); r.Ending != report.Completed || r.Verdict != report.Held {
			t.Errorf("got %s, %s (%s); want what it was", r.Ending, r.Verdict, r.Reason)
		}
		if log := l.log(); strings.Count(log, "· exp · held") != 1 || strings.Count(log, "· exp · ") != 1 {
			t.Errorf("want one entry, held:\n%s", log)
		}
	}
}

func TestNextRunRecovers(t *testing.T) {
	l := newLab(t)
	script := l.killAndWait()
	l.underFault(script)
	l.signal("supervisor", syscall.SIGSTOP)
	l.signal("agent", syscall.SIGKILL)
	l.signal("supervisor", syscall.SIGKILL)
	l.gone()
	l.down()
	p := l.start(l.script(l.web, `kill("`+l.victim.Name+`", duration = "1s")`))
	p.exits(0)
	l.back()
	if log := l.log(); strings.Count(log, "· exp · failed") != 1 || strings.Count(log, "· exp · held") != 1 {
		t.Errorf("want the dead run's entry and this one's:\n%s", log)
	}
}

func TestRedButton(t *testing.T) {
	l := newLab(t)
	p := l.underFault(l.killAndWait())
	if said := l.once(0, "status"); !strings.Contains(said, "runs since") || !strings.Contains(said, "kill -9 "+l.victim.Name) {
		t.Errorf("status does not tell what runs:\n%s", said)
	}
	said := l.once(0, "stop")
	l.back()
	if !strings.Contains(said, "undone") {
		t.Errorf("stop does not say what it did:\n%s", said)
	}
	p.exits(143)
	l.stays(500 * time.Millisecond)
	l.gone()
}

func TestSecondRunAtTheSameTime(t *testing.T) {
	l := newLab(t)
	script := l.killAndWait()
	p := l.underFault(script)
	if said := l.once(64, script); !strings.Contains(said, "runner status") {
		t.Errorf("want a refusal that says what to do:\n%s", said)
	}
	l.down() // the first goes on as if nothing had been
	l.signal("supervisor", syscall.SIGINT)
	p.exits(130)
	l.back()
}

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
)

// lateness is what the network of the tests' victim is given.
const lateness = 300 * time.Millisecond

// late is a method that makes the victim late for its peer web, and waits.
func (l *lab) late(more ...string) string {
	call := fmt.Sprintf(`h = netem(%q, delay = "300ms", peers = %q)`, l.victim.Name, l.web.Name)
	return l.script(l.web, append([]string{call}, more...)...)
}

func newNetLab(t *testing.T) *lab {
	t.Helper()
	scratch.Root(t)
	return newLab(t)
}

// roundTrip is a connection from the victim's namespace to web, as a program
// there would make it.
func (l *lab) roundTrip() time.Duration {
	l.t.Helper()
	var took time.Duration
	l.insideVictim(func(*netns.Namespace) error {
		began := time.Now()
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(l.web.Inspect().NetworkSettings.Networks["bridge"].IPAddress, "8080"), 30*time.Second)
		took = time.Since(began)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	return took
}

func (l *lab) insideVictim(f func(*netns.Namespace) error) {
	l.t.Helper()
	ns, err := netns.OfProcess(l.victim.Inspect().State.Pid)
	if err == nil {
		defer ns.Close() //nolint:errcheck // read only
		err = ns.Inside(func() error { return f(ns) })
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// clear waits until the victim's network is as before: no table of ours, and
// nothing late.
func (l *lab) clear() {
	l.t.Helper()
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var left []string
		l.insideVictim(func(ns *netns.Namespace) (err error) {
			left, err = nft.List(ns.Fd())
			return err
		})
		took := l.roundTrip()
		if len(left) == 0 && took < lateness {
			return
		}
		if time.Now().After(until) {
			l.t.Fatalf("the victim's network is not as before: tables %v, a connection takes %v", left, took)
		}
	}
}

// underNetem starts a run and waits until the fault is in, and seen to be.
func (l *lab) underNetem(script string) *proc {
	l.t.Helper()
	p := l.start(script)
	p.says("netem is in place")
	if took := l.roundTrip(); took < lateness {
		l.t.Errorf("netem is in place, and a connection takes %v", took)
	}
	return p
}

func TestNetemPlan(t *testing.T) {
	l := newNetLab(t)
	said := l.once(0, "plan", l.script(l.web,
		fmt.Sprintf(`netem(%q, delay = "3s", limit = 1000, peers = [%q, "10.0.0.0/8"], duration = "1s")`, l.victim.Name, l.web.Name),
		fmt.Sprintf(`partition(%q, %q, duration = "1s")`, l.victim.Name, l.web.Name)))
	for _, want := range []string{"netem on " + l.victim.Name, "delay 3s on outgoing packets to 10.0.0.0/8, ", "; engine ", "at most 333 packets/s", "partition: drop all packets", "exp.star:"} {
		if !strings.Contains(said, want) {
			t.Errorf("the plan does not say %q:\n%s", want, said)
		}
	}
	for method, want := range map[string]string{
		`netem(%q, delay = "1ms", peers = "nobody")`:                             `"nobody" means nothing`,
		`netem(%q, delay = "1ms", engine = "qdisc", duration = "1s")`:            "engine: got",
		`netem(%q, delay = "1ms", duration = "1s").update(jitter = "1ms")`:       "", // good
		`partition(%q, "nobody", duration = "1s")`:                               `"nobody" means nothing`,
		`netem(%q, delay = "1ms", engine = "nfqueue", peers = ["192.0.2.0/40"])`: "an address or a network",
	} {
		code := 64
		if want == "" {
			code = 0
		}
		if strings.Contains(method, "qdisc") && hasNetem() {
			continue
		}
		said := l.once(code, "plan", l.script(l.web, fmt.Sprintf(method, l.victim.Name), `observe("1s")`))
		if !strings.Contains(said, want) || want != "" && !strings.Contains(said, "exp.star:10:") {
			t.Errorf("%s: want %q at its line:\n%s", method, want, said)
		}
	}
	l.clear()
}

// hasNetem says whether this kernel has sch_netem.
func hasNetem() bool {
	raw, err := os.ReadFile("/proc/kallsyms")
	return err == nil && strings.Contains(string(raw), "netem_enqueue")
}

func TestNetemRun(t *testing.T) {
	l := newNetLab(t)
	p := l.underNetem(l.late(`h.update(delay = "600ms")`, `observe("1s")`))
	p.exits(0)
	l.clear()
	l.gone()
	r := l.result()
	if len(r.Faults) != 1 || len(r.Faults[0].Findings) != 4 || r.Verdict != report.Held {
		t.Fatalf("got %s with faults %+v, want held, with findings under the fault, after the update and after the undo", r.Verdict, r.Faults)
	}
	found := r.Faults[0].Findings
	if found[0].Figures["during_s"] < 0.3 || found[1].Figures["during_s"] < 0.6 || found[2].Figures["packets"] < 2 || found[3].Figures["after_s"] <= 0 {
		t.Errorf("got findings %+v", found)
	}
	if log := l.log(); !strings.Contains(log, "measured: round trip to ") || !strings.Contains(log, "netem on "+l.victim.Name+" changed") {
		t.Errorf("the log does not tell what was measured:\n%s", log)
	}
}

// The load goes to the victim itself: what it answers is late.
func TestNetemIsFelt(t *testing.T) {
	l := newNetLab(t)
	script := l.write("exp.star", fmt.Sprintf(`
hypothesis("the victim answers within 200 ms")
blast_radius(targets = [%[1]q], duration = "90s")
steady_state(baseline = "500ms", within = "30s")
load_ = traffic("http://%[1]s:8080/metrics", arrivals = "50/s", timeout = "2s")
latency = slo("latency", load_.latency("p50"), max = "200ms", recovers_within = "30s")
abort_if(load_.success, below = 0.2)

def method():
    netem(%[1]q, delay = "300ms", duration = "3s")
`, l.victim.Name))
	p := l.start("--expect", "broke", script)
	p.exits(0)
	l.clear()
	if r := l.result(); len(r.SLOs) != 1 || r.SLOs[0].During == nil || r.SLOs[0].During.Verdict != report.Broke {
		t.Errorf("got %+v, want the latency broken under the fault", r.SLOs)
	}
}

// Each ending of a run takes the fault back; here it is the kernel that holds it.
func TestNetemEndings(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*lab)
		code int
	}{
		"agent killed":      {func(l *lab) { l.signal("agent", syscall.SIGKILL) }, 5},
		"agent stopped":     {func(l *lab) { l.signal("agent", syscall.SIGSTOP) }, 5},
		"supervisor killed": {func(l *lab) { l.signal("supervisor", syscall.SIGKILL) }, -1},
		"supervisor stopped": {func(l *lab) {
			l.signal("supervisor", syscall.SIGSTOP)
			l.clear()
			l.signal("supervisor", syscall.SIGCONT)
		}, 5},
		"interrupted": {func(l *lab) { l.signal("supervisor", syscall.SIGINT) }, 130},
		"red button":  {func(l *lab) { l.once(0, "stop") }, 143},
		"all killed": {func(l *lab) {
			l.signal("supervisor", syscall.SIGSTOP)
			l.signal("agent", syscall.SIGKILL)
			l.signal("supervisor", syscall.SIGKILL)
		}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newNetLab(t)
			p := l.underNetem(l.late(`observe("60s")`))
			c.end(l)
			l.clear() // where all were killed too: nobody is left who could do it but the kernel
			p.exits(c.code)
			l.gone()
			if c.code < 0 {
				l.once(0, "recover")
			}
			l.clear()
			if said := l.once(0, "status"); !strings.Contains(said, "nothing is injected") {
				t.Errorf("status afterwards:\n%s", said)
			}
		})
	}
}

// A target that restarts takes its network with it: the run has not tested what
// it says, and fails.
func TestTargetRestartsUnderNetem(t *testing.T) {
	for kind, call := range map[string]string{
		"netem":     `netem(%q, delay = "300ms", peers = %q)`,
		"partition": `partition(%q, %q)`,
	} {
		t.Run(kind, func(t *testing.T) {
			l := newNetLab(t)
			p := l.start(l.script(l.web, fmt.Sprintf(call, l.victim.Name, l.web.Name), `observe("60s")`))
			p.says(kind + " is in place")
			l.victim.Kill()
			l.victim.Start()
			p.exits(5)
			l.back()
			l.clear()
			if r := l.result(); r.Ending != report.Failed || !strings.Contains(r.Reason, "restarted") || len(r.Stuck) != 0 {
				t.Errorf("got %s (%s), stuck %v; want failed for the restart", r.Ending, r.Reason, r.Stuck)
			}
		})
	}
}

// A peer that restarts is followed. The journal tells where it went.
func TestPeerRestartsUnderPartition(t *testing.T) {
	l := newNetLab(t)
	p := l.start(l.script(l.victim, fmt.Sprintf(`partition(%q, %q)`, l.victim.Name, l.web.Name), `observe("60s")`))
	p.says("partition is in place")
	p.says("no answer from")
	// Others take the address that is free while web is down.
	stop := l.web.Inspect().NetworkSettings.Networks["bridge"].IPAddress
	l.web.Kill()
	enginetest.Run(t, enginetest.Options{Network: "bridge"})
	l.web.Start()
	l.web.Ready()
	if now := l.web.Inspect().NetworkSettings.Networks["bridge"].IPAddress; now != stop {
		p.says("peers have moved: all packets to and from " + now + ", were")
	}
	l.signal("supervisor", syscall.SIGINT)
	p.exits(130)
	l.clear()
}

// A fault that no packet has met has tested nothing: the run fails, whatever
// its objectives say.
func TestNetemThatNothingMeets(t *testing.T) {
	l := newNetLab(t)
	p := l.start(l.script(l.web, fmt.Sprintf(`netem(%q, delay = "1ms", peers = "172.17.255.253", duration = "1s")`, l.victim.Name)))
	p.exits(5)
	p.says("no packet has met it all the while")
	l.clear()
	if r := l.result(); r.Ending != report.Failed || r.Verdict == report.Held {
		t.Errorf("got %s, %s; want failed", r.Verdict, r.Ending)
	}
}

// Blast radius' share of traffic is netem's, where that is not given.
func TestNetemShare(t *testing.T) {
	l := newNetLab(t)
	script := l.script(l.web, fmt.Sprintf(`netem(%q, delay = "300ms", duration = "1s")`, l.victim.Name))
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	script = l.write("exp.star", strings.Replace(string(text), `duration = "90s")`, `duration = "90s", traffic = "50%")`, 1))
	if said := l.once(0, "plan", script); !strings.Contains(said, "of 50% of the flows") {
		t.Errorf("the plan does not tell the share:\n%s", said)
	}
	p := l.start(script)
	p.exits(0)
	l.clear()
	for _, e := range l.events() {
		if a, ok := e.Data.(journal.Applied); ok && len(a.Findings) != 1 {
			t.Errorf("got findings %+v", a.Findings)
		}
	}
}

// The agent in a container has the rights for it, and where both are killed
// the kernel lets go by itself.
func TestNetemFromAContainer(t *testing.T) {
	for name, both := range map[string]bool{"to its end": false, "supervisor and agent killed": true} {
		t.Run(name, func(t *testing.T) {
			scratch.Root(t)
			l := newBox(t)
			p := l.underNetem(l.script(l.web,
				fmt.Sprintf(`netem(%q, delay = "300ms", peers = %q)`, l.victim.Name, l.web.Name),
				fmt.Sprintf(`partition(%q, "172.17.255.251")`, l.victim.Name),
				map[bool]string{false: `observe("1s")`, true: `observe("15s")`}[both]))
			if !both {
				p.exits(0)
				l.clear()
				return
			}
			p.says("partition is in place")
			l.signal("supervisor", syscall.SIGSTOP)
			l.engine("kill", func(ctx context.Context) error {
				return enginetest.Client(t).ContainerKill(ctx, l.helper(), "SIGKILL")
			})
			l.signal("supervisor", syscall.SIGKILL)
			l.clear()
			p.exits(-1)
			l.once(0, "recover")
			l.clear()
		})
	}
}

// Two containers in one network namespace are one target: the delay is not
// there twice.
func TestSharedNamespaceIsOneTarget(t *testing.T) {
	l := newNetLab(t)
	beside := enginetest.Run(t, enginetest.Options{Network: "container:" + l.victim.ID, Env: []string{"LISTEN=:8081"}})
	script := l.script(l.web, fmt.Sprintf(`h = netem([%q, %q], delay = "300ms", peers = %q)`, l.victim.Name, beside.Name, l.web.Name),
		`observe("1s")`)
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	script = l.write("exp.star", strings.NewReplacer(
		fmt.Sprintf("targets = [%q]", l.victim.Name), fmt.Sprintf("targets = [%q, %q]", l.victim.Name, beside.Name),
	).Replace(string(text)))
	if said := l.once(0, "plan", script); strings.Count(said, "delay 300ms") != 1 || !strings.Contains(said, "warning: its network namespace is also that of") {
		t.Errorf("the plan has it more than once, or does not say whom it harms:\n%s", said)
	}
	l.underNetem(script).exits(0)
	l.clear()
	if r := l.result(); len(r.Faults) != 1 {
		t.Errorf("got faults %+v, want one", r.Faults)
	}
}

//go:build netem

package qdisc

import (
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// steps are where a run is met; often has those that it passes twice, once for
// each of its faults.
var steps = []string{
	"before-intent", "after-intent", "after-apply", "after-applied", "before-undo", "after-undoing", "after-undo", "after-undone",
	"run-inject", "run-applied", "run-observe", "run-undo", "run-undone",
}

var often = map[string]bool{
	"before-intent": true, "after-intent": true, "after-apply": true, "after-applied": true, "before-undo": true, "after-undo": true,
	"run-inject": true, "run-applied": true, "run-observe": true,
}

// harmed has the steps at which a fault is in.
var harmed = map[string]bool{
	"after-apply": true, "after-applied": true, "before-undo": true, "after-undoing": true,
	"run-applied": true, "run-observe": true, "run-undo": true,
}

var victims = []string{"agent", "supervisor", "all"}

// budget is how long the sweep goes on, unless it was told how many trials.
const budget = 90 * time.Second

// Whoever dies wherever, nothing is left in the namespace.
func TestSweep(t *testing.T) {
	trials, seed := number(t, "UML_TRIALS", 0), number(t, "UML_SEED", rand.IntN(1000))
	site := listen(t)
	ran, met := 0, 0
	for began := time.Now(); ran < trials || trials == 0 && (ran < 4 || time.Since(began) < budget); ran++ {
		rng := rand.New(rand.NewPCG(uint64(seed), uint64(ran)))
		round := rand.New(rand.NewPCG(uint64(seed), 0)).Perm(len(steps))
		step, victim := steps[round[ran%len(steps)]], victims[(ran+ran/len(steps))%len(victims)]
		remedy, nth := []string{"recover", "run"}[rng.IntN(2)], 1
		if often[step] {
			nth += rng.IntN(2)
		}
		t.Run(strings.Join([]string{step, strconv.Itoa(nth), victim, remedy}, " "), func(t *testing.T) {
			tr := newTrial(t, ran)
			if tr.run(site, step, nth, victim, remedy) {
				met++
			} else {
				t.Logf("the step was not met\n%s", &tr.said)
			}
		})
	}
	t.Logf("%d of %d trials have met their step; again: UML_ONLY=crash UML_TRIALS=%d UML_SEED=%d", met, ran, ran, seed)
	if met*2 < ran {
		t.Errorf("only %d of %d trials have met their step", met, ran)
	}
}

// run is one trial; false says that the run has ended before its step.
func (tr *trial) run(site netip.AddrPort, step string, nth int, victim, remedy string) bool {
	script := tr.write(site)
	main := tr.start(step, "run", "--allow", "netns:"+tr.name, "--heartbeat", "10s", script)
	over := make(chan error, 1)
	go func() { over <- main.Wait() }()
	var m meeting
	for i := 0; i < nth; i++ {
		if m.conn != nil {
			_ = m.conn.Close() // it goes on
		}
		select {
		case m = <-tr.met:
		case <-over:
			tr.clean("the run has ended by itself")
			return false
		}
	}
	if world := tr.world(); harmed[step] && !strings.Contains(world, "netem") {
		tr.t.Errorf("at %s no fault is to be seen in\n%s\n%s", step, world, &tr.said)
	}
	agents := tr.processes("agent")
	switch victim {
	case "agent":
		kill(agents...)
	case "supervisor":
		kill(main.Process.Pid)
	default:
		kill(append(agents, main.Process.Pid)...)
	}
	_ = tr.listen.Close() // nobody stands anywhere from now on
	_ = m.conn.Close()    // it may be dead
	tr.answerAll()

	<-over // dead, or in an orderly end
	tr.poll("the end of the agents", func() bool { return len(tr.processes("agent")) == 0 })
	if victim != "all" {
		tr.clean("who was left has mended it")
	}
	if remedy == "run" { // it takes back what the dead has left, then goes its own way
		next := tr.start("nowhere", "run", "--allow", "netns:"+tr.name, "--heartbeat", "10s", script)
		_ = next.Wait() // its verdict depends on how busy the machine is
		tr.clean("after the next run")
	}
	if err := tr.start("nowhere", "recover").Wait(); err != nil {
		tr.t.Errorf("recover: %v\n%s", err, &tr.said)
	}
	tr.clean("after recover")
	return true
}

// answerAll lets whoever has come to the door meanwhile go on.
func (tr *trial) answerAll() {
	for {
		select {
		case m := <-tr.met:
			_ = m.conn.Close() // it may be dead
		default:
			return
		}
	}
}

// listen takes the traffic of every trial.
func listen(t *testing.T) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = server.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

package crash

import (
	"fmt"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// heal waits until the harm is out: by itself where the supervisor or the agent
// lives and runs, else by the remedy.
func (t *trial) heal() error {
	t.healed, t.from = "itself", t.blown
	defer func() { t.mine = t.mine || t.harmed && t.healed != "run" }()
	supervised := t.works(supervisor, t.main.prey)
	switch {
	case supervised && t.stage != "recover":
		// Its end says that everything is undone. A worker that is stopped is
		// waited for 15 s: too long for a sweep.
		if h, struck := t.blow[worker]; struck && h == stop {
			time.Sleep(t.hold)
			t.worker.signal(unix.SIGCONT)
		}
		return t.wait("the supervisor's end", t.main.over)
	case t.works(agent, t.agent):
		return t.wait("the agent's undo", func() bool { return !t.agent.alive() || t.place.idle(t.stage == "") })
	case supervised: // a recover that has lost its agent fails
	}
	return t.remedied()
}

// remedied heals what nobody is left to heal.
func (t *trial) remedied() error {
	asleep, err := t.nobody()
	if err != nil {
		return err
	}
	if t.sabotage != nil {
		t.sabotage(t)
	}
	t.mine = t.harmed // what follows may harm something of its own
	t.healed, t.from = t.remedy, time.Now()
	switch t.remedy {
	case "cont":
		if len(t.stopped) > 0 && (t.stage != "recover" || asleep) { // a recover that wakes without its agent fails
			t.cont()
			return t.wait("what was stopped", func() bool {
				return (t.main.over() || !t.agent.alive()) && t.place.idle(false) && t.quietEnd()
			})
		}
		t.healed = "recover"
		t.cont()
		return t.once([]int{0}, "recover")
	case "recover":
		if err := t.once([]int{0}, "recover"); err != nil {
			return err
		}
		if !asleep { // the supervisor, before its blow, may have started an agent that is undoing still
			return t.wait("the undo of another agent", func() bool { return t.place.idle(false) })
		}
	case "run":
		if err := t.next(asleep); err != nil || !asleep {
			return err
		}
	}
	t.healed, t.from = "stop", time.Now()
	return t.once([]int{0}, "stop")
}

// nobody waits until no agent is left that runs: what a dead one held in the
// kernel is gone then, before anybody has healed anything. asleep says that one
// is stopped: to the others it is alive.
func (t *trial) nobody() (asleep bool, err error) {
	if h, struck := t.blow[agent]; struck && h == stop {
		asleep = t.agent.alive()
	}
	err = t.wait("the death of the agents", func() bool {
		pid := agentOf(t.id) // one that was not there yet when the blow fell, too: it sees EOF
		return pid == 0 || asleep && pid == t.agent.pid || t.main.alive()
	})
	if err != nil || asleep || agentOf(t.id) != 0 { // its supervisor is stopped: it notices
		return asleep, err
	}
	for i, r := range []row{t.first, t.second} {
		for until := time.Now().Add(patience); r.kernel; time.Sleep(between) {
			st, err := t.see(i)
			if err != nil {
				return asleep, err
			}
			why := t.why(i, st)
			if why == "" {
				break
			}
			if time.Now().After(until) {
				return asleep, leak("its agent is dead, and the kernel still holds: " + why)
			}
		}
	}
	return asleep, nil
}

// next is the next run as a remedy: it takes back what the dead has left, harms
// something of its own and fails. An agent that is stopped is alive to it: it
// may hold the engine, unless it was stopped before it took it or after it let
// go.
func (t *trial) next(asleep bool) error {
	want := []int{5}
	if asleep {
		want = append(want, 64)
	}
	if err := t.once(want, t.heartbeat(), t.site.next(t)); err != nil {
		return err
	}
	last := t.runs[len(t.runs)-1]
	if last.cmd.ProcessState.ExitCode() == 64 && !busy.MatchString(last.said.String()) {
		return fmt.Errorf("the next run was refused, and not because an agent is in its way")
	}
	return nil
}

var busy = regexp.MustCompile("holds this engine|another process has been undoing")

// quietEnd says that a supervisor that was woken has ended, or was never there.
func (t *trial) quietEnd() bool { return t.main.over() || !t.main.alive() }

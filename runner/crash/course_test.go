//go:build crash

package crash

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// approach brings the trial to the moment of the blow.
func (t *trial) approach() error {
	if t.step == "" {
		return t.atRandom()
	}
	if t.stage == "" {
		if err := t.begin(t.step); err != nil {
			return err
		}
		return t.meetAt(t.step, t.nth, nil)
	}
	// Both stages come after a run that has lost its agent under the fault.
	steps := []string{"run-observe"}
	if t.stage == "second" {
		steps = append(steps, t.step)
	}
	if err := t.begin(steps...); err != nil {
		return err
	}
	if err := t.meetAt("run-observe", 1, nil); err != nil {
		return err
	}
	if t.stage == "second" {
		t.agent.signal(unix.SIGKILL)
		return t.meetAt(t.step, 1, t.agent)
	}
	for _, p := range []*prey{t.main.prey, t.agent} { // so that none sees the other die
		p.signal(unix.SIGSTOP)
	}
	for _, p := range []*prey{t.agent, t.main.prey} {
		p.signal(unix.SIGKILL)
	}
	t.door.close()
	if err := t.wait("the death of all", func() bool { return t.main.over() && !t.agent.alive() && !t.worker.alive() }); err != nil {
		return err
	}
	var err error
	if t.door, err = newDoor(t.dir, "door2"); err != nil {
		return err
	}
	if t.main, err = t.start([]string{t.door.failpoint(t.step)}, "recover"); err != nil {
		return err
	}
	return t.meetAt(t.step, 1, nil)
}

// begin starts the run.
func (t *trial) begin(steps ...string) (err error) {
	t.main, err = t.start([]string{t.door.failpoint(steps...)}, "--heartbeat", heartbeat, t.site.script(t))
	return err
}

const heartbeat = "1s"

// atRandom waits for the random instant.
func (t *trial) atRandom() error {
	if err := t.begin("run-method"); err != nil {
		return err
	}
	after := t.after
	if after < 0 {
		after = -after
	} else if err := t.meetAt("run-method", 1, nil); err != nil {
		return err
	}
	t.door.close()
	select {
	case <-time.After(after):
	case <-t.main.ended:
	}
	t.find(nil)
	return nil
}

// meetAt waits until a process stands at the step for the nth time; one that
// is met at another is let go. but is a process that is not meant.
func (t *trial) meetAt(step string, nth int, but *prey) error {
	late := time.After(patience)
	for n := 0; ; {
		select {
		case m := <-t.door.met:
			if m.step == step {
				n++
			}
			if m.step != step || n < nth {
				m.answer()
				continue
			}
			t.find(but)
			return nil
		case <-t.main.ended:
			return fmt.Errorf("the runner has ended and never stood at %s (time %d)", step, nth)
		case <-late:
			return fmt.Errorf("the runner never stood at %s (time %d)", step, nth)
		}
	}
}

// find holds the agent and the worker of the main process as they are now.
func (t *trial) find(but *prey) {
	for _, p := range []*prey{t.agent, t.worker} {
		if p != but {
			p.close()
		}
	}
	but.close()
	t.agent, t.worker = hold(childOf(t.main.pid, "agent")), hold(childOf(t.main.pid, "worker"))
}

// heal waits until the harm is out: by itself where the supervisor or the agent
// lives and runs, else by the remedy.
func (t *trial) heal() error {
	t.healed, t.from = "itself", t.blown
	supervised := t.runs(supervisor, t.main.prey)
	switch {
	case supervised && t.stage != "recover":
		// Its end says that everything is undone. A worker that is stopped is
		// waited for 15 s: too long for a sweep.
		if h, struck := t.blow[worker]; struck && h == stop {
			time.Sleep(t.hold)
			t.worker.signal(unix.SIGCONT)
		}
		return t.wait("the supervisor's end", t.main.over)
	case t.runs(agent, t.agent):
		return t.wait("the agent's undo", func() bool { return !t.agent.alive() || idle(t.dir, t.stage == "") })
	case supervised: // a recover that has lost its agent fails
	}
	return t.remedied()
}

// remedied heals what nobody is left to heal.
func (t *trial) remedied() error {
	t.healed, t.from = t.remedy, time.Now()
	asleep := t.agent.alive() // stopped: to the others it is alive
	switch t.remedy {
	case "cont":
		if len(t.stopped) > 0 {
			t.cont()
			return t.wait("what was stopped", func() bool {
				return (t.main.over() || !t.agent.alive()) && idle(t.dir, false) && t.quietEnd()
			})
		}
		t.healed = "recover"
		return t.once(0, "recover")
	case "recover":
		if err := t.once(0, "recover"); err != nil || !asleep {
			return err
		}
	case "run":
		if !asleep {
			return t.once(5, "--heartbeat", heartbeat, t.site.next(t))
		}
		if err := t.once(64, t.site.next(t)); err != nil && t.stage == "" {
			return err
		}
	}
	t.healed, t.from = "stop", time.Now()
	return t.once(0, "stop")
}

// quietEnd says that a supervisor that was woken has ended, or was never there.
func (t *trial) quietEnd() bool { return t.main.over() || !t.main.alive() }

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
	if t.door, err = newDoor(t.place.state(), t.id+".door2"); err != nil {
		return err
	}
	if t.main, err = t.start(t.door.failpoint(t.step), "recover"); err != nil {
		return err
	}
	return t.meetAt(t.step, 1, nil)
}

// begin starts the run.
func (t *trial) begin(steps ...string) (err error) {
	t.main, err = t.start(t.door.failpoint(steps...), t.heartbeat(), t.site.script(t))
	return err
}

// heartbeat is short, so that a sweep is quick, and longer each time that the
// machine was too busy for it.
func (t *trial) heartbeat() string { return fmt.Sprintf("--heartbeat=%ds", 1<<t.tries) }

// A missed moment: the run was over before it, as happens where the machine has
// no time for it. The trial is tried again.
type missed string

func (m missed) Error() string { return string(m) }

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
			return missed(fmt.Sprintf("the runner has ended and never stood at %s (time %d)", step, nth))
		case <-late:
			return missed(fmt.Sprintf("the runner never stood at %s (time %d)", step, nth))
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
	t.agent, t.worker = hold(agentOf(t.id)), hold(childOf(t.main.pid, "worker"))
	if but != nil && t.agent != nil && t.agent.pid == but.pid {
		t.agent.close()
		t.agent = nil
	}
}

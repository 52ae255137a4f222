package crash

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A trial is one plan under way.
type trial struct {
	plan
	*world
	id     string
	tries  int // that have missed their moment
	dir    string
	place  place
	runner string
	site   *site
	door   *door
	runs   []*proc // every `runner` that was started
	// sabotage plants a leak before the remedy, to see it noticed.
	sabotage func(*trial)

	main     *proc // whose processes are struck: the run, or the recover
	agent    *prey // of main, at the blow
	worker   *prey
	stopped  []*prey
	starving sync.WaitGroup
	mine     bool   // the run's own faults were seen, not those of the next
	healed   string // what ended the harm: "itself" or the remedy
	from     time.Time
}

// wait polls, and looks at the world meanwhile.
func (t *trial) wait(what string, ok func() bool) error {
	for until := time.Now().Add(patience); !ok(); time.Sleep(between) {
		if _, err := t.look(); err != nil {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("waited %v in vain for %s", patience, what)
		}
	}
	return nil
}

// run is the whole trial.
func (t *trial) run() (err error) {
	defer func() { err = errors.Join(err, t.cleanUp()) }()
	if err := t.ready(); err != nil {
		return err
	}
	if t.place, err = newPlace(t.engine, t.dir, t.inside); err != nil {
		return err
	}
	if t.door, err = newDoor(t.place.state(), t.id+".door"); err != nil {
		return err
	}
	if err := t.approach(); err != nil {
		return errors.Join(err, t.retreat(err))
	}
	t.strike()
	if t.meet > 0 {
		time.Sleep(t.meet)
	}
	t.door.close()
	if err := t.heal(); err != nil {
		return err
	}
	if err := t.seal(t.sick()); err != nil {
		return err
	}
	if err := t.awake(); err != nil {
		return err
	}
	return t.settle()
}

// retreat ends a trial that has missed its moment: then too all must be as it
// was.
func (t *trial) retreat(why error) error {
	if _, ok := errors.AsType[missed](why); !ok {
		return nil
	}
	t.door.close()
	t.main.signal(unix.SIGINT)
	if err := t.wait("the runner's end", t.main.over); err != nil {
		return err
	}
	if err := t.once([]int{0}, "recover"); err != nil {
		return err
	}
	return t.seal(t.sick())
}

// strike falls on the victims.
func (t *trial) strike() {
	t.blown = time.Now()
	for i, w := range t.order {
		if i > 0 {
			time.Sleep(t.gap)
		}
		victim := [...]*prey{t.main.prey, t.agent, t.worker}[w]
		if victim == nil {
			continue // it is not there yet, or not any more
		}
		switch t.blow[w] {
		case kill:
			victim.signal(unix.SIGKILL)
		case stop:
			victim.signal(unix.SIGSTOP)
			t.stopped = append(t.stopped, victim)
		case starve:
			t.starving.Go(func() { victim.starve(t.hold) })
		}
	}
	_, _ = t.look() // the next look tells of an engine that does not answer
}

// cont wakes what is stopped.
func (t *trial) cont() {
	for _, p := range t.stopped {
		p.signal(unix.SIGCONT)
	}
	t.stopped = nil
}

// works says whether a process lives and has not been stopped.
func (t *trial) works(w who, p *prey) bool {
	h, struck := t.blow[w]
	return p.alive() && (!struck || h == starve)
}

// cast are the processes of the trial that live.
func (t *trial) cast() []int {
	var supervisors []int
	for _, p := range t.runs {
		supervisors = append(supervisors, p.pid)
	}
	return cast(t.id, supervisors)
}

// awake wakes all that is stopped and waits until no process is left: nothing
// may be harmed again meanwhile, nor for a moment after.
func (t *trial) awake() error {
	t.cont()
	t.starving.Wait()
	t.main.signal(unix.SIGINT) // it need not watch the recovery
	if err := t.wait("the runner's end", t.main.over); err != nil {
		return err
	}
	var left []int
	for until := time.Now().Add(patience); ; time.Sleep(between) {
		if left = t.cast(); len(left) == 0 {
			break
		}
		if time.Now().After(until) {
			return leak(fmt.Sprintf("processes are left over: %v", left))
		}
	}
	for range 3 {
		if _, err := t.look(); err != nil {
			return err
		}
		time.Sleep(between)
	}
	return nil
}

// settle is the last recover, after which nothing but evidence is left.
func (t *trial) settle() error {
	if err := t.once([]int{0}, "recover"); err != nil {
		return err
	}
	if _, err := t.look(); err != nil {
		return err
	}
	if err := t.place.settled(); err != nil {
		return err
	}
	if err := t.alone(); err != nil {
		return err
	}
	return t.site.check(t)
}

// alone waits until no container of an agent is left. One that was made and
// never started, because its supervisor died in between, holds nothing; the
// next start of an agent removes it once a minute has passed.
func (t *trial) alone() error {
	again := time.Now().Add(75 * time.Second)
	for until := time.Now().Add(patience); ; time.Sleep(between) {
		left, err := t.place.helpers()
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(again) {
			if err := t.once([]int{0}, "recover"); err != nil {
				return err
			}
			again = time.Now().Add(75 * time.Second)
		}
		if time.Now().After(until) {
			return leak(fmt.Sprintf("containers of agents are left over: %v", left))
		}
	}
}

func (t *trial) cleanUp() error {
	t.cont()
	t.starving.Wait()
	for _, pid := range t.cast() {
		p := hold(pid)
		p.signal(unix.SIGKILL)
		p.close()
	}
	if t.door != nil {
		t.door.close()
	}
	t.agent.close()
	t.worker.close()
	return t.place.remove()
}

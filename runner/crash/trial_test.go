//go:build crash

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long anything is waited for: for ever, as machines go.
const patience = 90 * time.Second

// A trial is one plan under way.
type trial struct {
	plan
	*world
	id     string
	dir    string
	runner string
	site   *site
	door   *door
	said   [](*said)

	supervisors []int // pids of every `runner` that was started
	main        *proc // whose processes are struck: the run, or the recover
	agent       *prey // of main, at the blow
	worker      *prey
	stopped     []*prey
	starving    sync.WaitGroup
	healed      string // what ended the harm: "itself" or the remedy
	from        time.Time
}

// A proc is a runner of ours.
type proc struct {
	*prey
	cmd   *exec.Cmd
	said  *said
	ended chan struct{}
}

type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (t *trial) start(env []string, args ...string) (*proc, error) {
	p := &proc{cmd: exec.Command(t.runner, append([]string{"--state", filepath.Join(t.dir, "state")}, args...)...), said: &said{}, ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = t.dir, append(append(os.Environ(), mark+t.id), env...)
	p.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	fmt.Fprintf(p.said, "$ runner %v\n", args)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.WaitDelay = p.said, p.said, 5*time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.prey = hold(p.cmd.Process.Pid)
	t.said, t.supervisors = append(t.said, p.said), append(t.supervisors, p.pid)
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.ended)
	}()
	return p, nil
}

// once runs the runner to its end.
func (t *trial) once(want int, args ...string) error {
	p, err := t.start(nil, args...)
	if err != nil {
		return err
	}
	if err := t.wait("the end of runner "+args[0], p.over); err != nil {
		return err
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		return fmt.Errorf("runner %v: got exit code %d, want %d", args, got, want)
	}
	return nil
}

func (p *proc) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait polls, and looks at the world meanwhile.
func (t *trial) wait(what string, ok func() bool) error {
	for until := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
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
	if t.door, err = newDoor(t.dir, "door"); err != nil {
		return err
	}
	if err := t.approach(); err != nil {
		return err
	}
	t.strike()
	if t.meet > 0 {
		time.Sleep(t.meet)
	}
	t.door.close()
	if err := t.heal(); err != nil {
		return err
	}
	if err := t.seal(); err != nil {
		return err
	}
	if err := t.awake(); err != nil {
		return err
	}
	return t.settle()
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

// runs says whether a process lives and has not been stopped.
func (t *trial) runs(w who, p *prey) bool {
	h, struck := t.blow[w]
	return p.alive() && (!struck || h == starve)
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
	for until := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if left = leftovers(t.id, t.supervisors); len(left) == 0 {
			break
		}
		if time.Now().After(until) {
			return fmt.Errorf("processes are left over: %v", left)
		}
	}
	for range 4 {
		if _, err := t.look(); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// settle is the last recover, after which nothing but evidence is left.
func (t *trial) settle() error {
	if err := t.once(0, "recover"); err != nil {
		return err
	}
	if _, err := t.look(); err != nil {
		return err
	}
	if err := settled(t.dir); err != nil {
		return err
	}
	return t.site.check(t)
}

func (t *trial) cleanUp() error {
	t.cont()
	t.starving.Wait()
	for _, pid := range leftovers(t.id, t.supervisors) {
		p := hold(pid)
		p.signal(unix.SIGKILL)
		p.close()
	}
	if t.door != nil {
		t.door.close()
	}
	t.agent.close()
	t.worker.close()
	return nil
}

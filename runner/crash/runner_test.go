package crash

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

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

func (t *trial) start(failpoint string, args ...string) (*proc, error) {
	args = append(t.place.flags(), args...)
	p := &proc{cmd: exec.Command(t.runner, args...), said: &said{}, ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = t.dir, append(os.Environ(), failpoint)
	p.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	fmt.Fprintf(p.said, "$ runner %v\n", args)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.WaitDelay = p.said, p.said, 5*time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.prey = hold(p.cmd.Process.Pid)
	t.runs = append(t.runs, p)
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.ended)
	}()
	return p, nil
}

// once runs the runner to its end.
func (t *trial) once(want []int, args ...string) error {
	p, err := t.start(t.door.failpoint("nowhere"), args...)
	if err != nil {
		return err
	}
	if err := t.wait("the end of runner "+args[0], p.over); err != nil {
		return err
	}
	if got := p.cmd.ProcessState.ExitCode(); !slices.Contains(want, got) {
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

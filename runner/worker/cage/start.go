package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drain is how long, after the child's death, its pipes are still read. Only a
// process that the child left behind makes them last longer.
const drain = 2 * time.Second

// A Child is a process that Start has started.
type Child struct {
	Stdin *os.File // closed by the caller, or when the child has died

	// Stdout is read to its end, and closed, by the caller. Reading fails when
	// the child has been dead for 2 s and something else holds the other end.
	Stdout *os.File

	pid    int
	memory int64
	words  lastWords
	done   chan struct{}
	death  Death // once done is closed

	mu   sync.Mutex
	gone bool // the pid is free for others: no signal any more
	cut  bool // it was dying, and said too much
}

// Start starts path with arguments as a child that is ready to Enter: in a
// process group of its own, with a minimal environment, to be killed by the
// kernel if this process dies. The caller calls End, or closes Stdin and Waits.
func Start(o Options, path string, args ...string) (*Child, error) {
	memory, err := o.memory()
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("cage: %w", err)
	}
	p, err := openPipes()
	if err != nil {
		return nil, fmt.Errorf("cage: %w", err)
	}
	cmd := &exec.Cmd{
		Path: path, Args: append([]string{path}, args...),
		Env: environment(memory), Dir: "/",
		Stdin: p.stdin.r, Stdout: p.stdout.w, Stderr: p.stderr.w,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	c := &Child{Stdin: p.stdin.w, Stdout: p.stdout.r, memory: memory, done: make(chan struct{})}
	c.words.enough = c.cutShort

	started := make(chan error, 1)
	go func() {
		// The death signal comes when the thread that forked ends, not the
		// process: this one stays until the child is dead.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.closeChildEnds()
		if err != nil {
			started <- err
			return
		}
		c.pid = cmd.Process.Pid
		started <- nil
		c.reap(cmd, p.stderr.r)
	}()
	if err := <-started; err != nil {
		p.closeOwnEnds()
		return nil, fmt.Errorf("cage: start %s: %w", path, err)
	}
	return c, nil
}

// environment holds nothing of this process's own, which may have secrets.
func environment(memory int64) []string {
	return []string{
		fmt.Sprintf("%s=%d", envParent, os.Getpid()),
		fmt.Sprintf("%s=%d", envMemory, memory),
		// The collector works hard before the limit is met, but not for long:
		// at three quarters, a map that grows forever took 2.5 times as long
		// to die. What is left is for what the collector does not count: C's
		// stacks, and address space it has given back.
		fmt.Sprintf("GOMEMLIMIT=%d", memory/8*7),
		"GOMAXPROCS=2",
		"GOTRACEBACK=single",
		// Else every mapping would be named by a prctl, which is forbidden.
		"GODEBUG=decoratemappings=0",
	}
}

// reap waits for the child's death, on the thread that forked.
func (c *Child) reap(cmd *exec.Cmd, stderr *os.File) {
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		_, _ = c.words.ReadFrom(stderr) // its end is the end of what can be known
	}()

	// Look, but leave the zombie: until it is reaped, its pid and its group
	// are nobody else's, and what it left in the group can be killed.
	zombie := waitForZombie(c.pid)
	c.mu.Lock()
	if zombie {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL) // ESRCH: there is none left
	}
	err := cmd.Wait()
	c.gone = true
	c.mu.Unlock()

	_ = c.Stdin.Close() // closed already: fine
	_ = c.Stdout.SetReadDeadline(time.Now().Add(drain))
	select {
	case <-heard:
	case <-time.After(drain):
	}
	_ = stderr.Close() // ends a read that still waits
	<-heard
	c.death = classify(ending{cmd.ProcessState, err, c.words.String(), c.wasCut()}, c.memory)
	close(c.done)
}

// waitForZombie is false if the child was reaped by another, such as a
// container's init that waits for whoever ends.
func waitForZombie(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}

// Pid is the child's.
func (c *Child) Pid() int { return c.pid }

// Done is closed when the child is dead and its last words are read.
func (c *Child) Done() <-chan struct{} { return c.done }

// Stderr is what the child has written there so far, bounded as in Death.
func (c *Child) Stderr() string { return c.words.String() }

// Wait waits for the child's death. It waits at most drain longer for a
// process that the child left behind with its pipes.
func (c *Child) Wait() Death {
	<-c.done
	return c.death
}

// End ends the child: SIGTERM to its group, SIGKILL when grace has passed. With
// no grace it is killed at once. It returns when the child is dead, also when
// that was so before.
func (c *Child) End(grace time.Duration) Death {
	if grace > 0 {
		c.signal(syscall.SIGTERM)
		after := time.NewTimer(grace)
		defer after.Stop()
		select {
		case <-c.done:
			return c.death
		case <-after.C:
		}
	}
	c.signal(syscall.SIGKILL)
	return c.Wait()
}

// cutShort kills a child that has said what it dies of and will not end.
func (c *Child) cutShort() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	c.signal(syscall.SIGKILL)
}

func (c *Child) wasCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

func (c *Child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	// ESRCH: it is dead, and reap will say so.
	_ = syscall.Kill(-c.pid, sig)
	if sig == syscall.SIGKILL {
		_ = syscall.Kill(c.pid, sig) // should it have left its group
	}
}

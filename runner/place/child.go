package place

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Child is an agent in a process of ours, in a session of its own.
type Child struct {
	io.Reader      // its stdout
	io.WriteCloser // its stdin; no other process has this end

	said *tail
	done chan struct{}

	mu    sync.Mutex
	pidfd int // -1: it has ended
}

// StartChild runs exe as an agent.
func StartChild(exe string) (*Child, error) {
	c := &Child{said: &tail{limit: 16 << 10}, done: make(chan struct{}), pidfd: -1}
	cmd := exec.Command(exe, "agent")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &c.pidfd}
	cmd.Stderr = c.said
	cmd.WaitDelay = time.Second
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "RUNNER_SECRET_") })
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	stdout, theirs, err := os.Pipe() // ours, so that its end does not cut off its last words
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	defer theirs.Close() //nolint:errcheck // the child has it
	c.Reader, c.WriteCloser, cmd.Stdout = stdout, stdin, theirs
	if err := cmd.Start(); err != nil {
		_ = stdout.Close() // nothing was read from it
		return nil, fmt.Errorf("agent: start: %w", err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in its ledger
		c.mu.Lock()
		_ = unix.Close(c.pidfd) // nothing was written to it
		c.pidfd = -1
		c.mu.Unlock()
		close(c.done)
	}()
	return c, nil
}

// Kill sends SIGKILL by pidfd: whatever happens to its number, this one is meant.
func (c *Child) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd >= 0 {
		_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0) // ESRCH: it is gone already
	}
	return nil
}

// Done is closed once it has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// LastWords is the end of its stderr.
func (c *Child) LastWords() string { return c.said.String() }

// tail keeps the last bytes written to it.
type tail struct {
	mu    sync.Mutex
	buf   []byte
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

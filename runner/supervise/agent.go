package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/runner/protocol"
)

const (
	answerLimit = time.Second      // a heartbeat without an answer: the agent is wedged
	helloLimit  = 2 * time.Minute  // undoing what dead runs left comes before the welcome
	undoLimit   = 90 * time.Second // for everything; each undo has a deadline of its own in the agent
	applyLimit  = 6 * time.Minute  // the longest grace of a stop, and the engine's own time
)

// agent is the supervisor's end of the link to the process that touches the
// world.
type agent struct {
	cmd     *exec.Cmd
	pidfd   int
	stdin   io.WriteCloser // EOF here is an undo-all
	peer    *protocol.Peer
	stderr  *tail
	welcome protocol.Welcome

	mu       sync.Mutex
	beats    uint64
	waiting  time.Time // when the oldest unanswered heartbeat was sent; zero: none
	exited   chan struct{}
	exitedBy error
}

// startAgent runs exe as an agent in a session of its own and greets it.
// events are called on the link's goroutine.
func startAgent(ctx context.Context, exe string, hello protocol.Hello, events func(event string, body json.RawMessage)) (*agent, error) {
	a := &agent{stderr: &tail{limit: 16 << 10}, exited: make(chan struct{}), pidfd: -1}
	a.cmd = exec.Command(exe, "agent")
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &a.pidfd}
	a.cmd.Stderr = a.stderr
	a.cmd.WaitDelay = time.Second
	a.cmd.Env = os.Environ()
	stdin, err := a.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("agent: start: %w", err)
	}
	a.stdin = stdin
	a.peer = protocol.NewPeer(stdout, stdin, agentEvents(events))
	life := context.WithoutCancel(ctx)
	go func() {
		linkErr := a.peer.Run(life)
		a.exitedBy = errors.Join(linkErr, a.cmd.Wait())
		close(a.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	if err := a.peer.Call(ctx, protocol.CallHello, hello, &a.welcome); err != nil {
		a.end(time.Second)
		return nil, a.explain(err)
	}
	return a, nil
}

type agentEvents func(event string, body json.RawMessage)

func (agentEvents) Handle(_ context.Context, call string, _ json.RawMessage) (any, error) {
	return nil, protocol.Errorf(protocol.CodeUnknown, "supervisor: the agent makes no calls, got %q", call)
}

func (f agentEvents) Event(event string, body json.RawMessage) {
	if f != nil {
		f(event, body)
	}
}

// explain adds the agent's last words to an error where the link broke.
func (a *agent) explain(err error) error {
	if !errors.Is(err, protocol.ErrClosed) {
		return err
	}
	if said := strings.TrimSpace(a.stderr.String()); said != "" {
		return fmt.Errorf("agent: it died: %s", said)
	}
	return fmt.Errorf("agent: it died: %w", err)
}

// beat sends the watcher's sign of life. It does not wait for the answer.
func (a *agent) beat() {
	a.mu.Lock()
	a.beats++
	n, now := a.beats, time.Now()
	if a.waiting.IsZero() {
		a.waiting = now
	}
	a.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*answerLimit)
		defer cancel()
		if err := a.peer.Call(ctx, protocol.CallHeartbeat, protocol.Beat{N: n}, nil); err == nil {
			a.mu.Lock()
			a.waiting = time.Time{}
			a.mu.Unlock()
		}
	}()
}

// wedged says that the agent has left a heartbeat without an answer for too
// long, counted on the watcher's own clock: since is when the watcher last
// ran, so that a supervisor that was stopped does not blame its agent.
func (a *agent) wedged(now time.Time, limit time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.waiting.IsZero() && now.Sub(a.waiting) > limit
}

// forgive forgets an unanswered heartbeat.
func (a *agent) forgive() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = time.Time{}
}

// kill ends the agent at once. What the kernel holds for it goes with it; the
// rest is undone from its ledger.
func (a *agent) kill() {
	_ = unix.PidfdSendSignal(a.pidfd, unix.SIGKILL, nil, 0) // ESRCH: it is gone already
	<-a.exited
}

// end closes the link, which makes the agent undo whatever is left, and waits
// for its process; a process that does not end in time is killed.
func (a *agent) end(grace time.Duration) {
	_ = a.stdin.Close() // EOF is the message; the pipe may be broken already
	select {
	case <-a.exited:
	case <-time.After(grace):
		a.kill()
	}
	a.closePidfd()
}

func (a *agent) closePidfd() {
	if a.pidfd >= 0 {
		_ = unix.Close(a.pidfd)
		a.pidfd = -1
	}
}

// call asks the agent, with a limit.
func (a *agent) call(ctx context.Context, limit time.Duration, name string, in, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer from the agent within %s", limit))
	defer cancel()
	return a.explain(a.peer.Call(ctx, name, in, out))
}

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

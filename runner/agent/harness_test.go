package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

// The agent under test is this test binary started again, so that it can be
// killed and stopped like the real one.
func TestMain(m *testing.M) {
	if how := os.Getenv("RUNNER_TEST_AGENT"); how != "" {
		if how != "old" {
			fault.Kinds["touch"] = func() fault.Fault { return &touch{} }
			fault.Kinds["frail"] = func() fault.Fault { return &frail{} }
		}
		os.Exit(Main(os.Stdin, os.Stdout, nil))
	}
	enginetest.Main(m)
}

// A child is an agent in a process of its own, and our end of its link.
type child struct {
	t       testing.TB
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	peer    *protocol.Peer
	exited  chan struct{}
	welcome protocol.Welcome

	mu     sync.Mutex
	events []string
	undone []protocol.UndoResult
	silent chan struct{}
	hush   sync.Once
}

// spawn starts an agent without a word to it. env are further variables.
func spawn(t testing.TB, env ...string) *child {
	t.Helper()
	c := &child{t: t, exited: make(chan struct{}), silent: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(append(os.Environ(), "RUNNER_TEST_AGENT=1"), env...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var said strings.Builder
	c.cmd.Stderr = &said
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe() // ours, so that waiting for the process does not close it
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdout, c.stdout = in, out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close() // the child has it
	c.peer = protocol.NewPeer(out, c.stdin, c)
	go func() { _ = c.cmd.Wait(); close(c.exited) }()
	t.Cleanup(func() {
		c.quiet()
		_ = c.cmd.Process.Signal(syscall.SIGCONT)
		_ = c.stdin.Close()
		select {
		case <-c.exited:
		case <-time.After(40 * time.Second):
			t.Error("the agent has not ended after its stdin did")
			_ = c.cmd.Process.Kill()
			<-c.exited
		}
		_ = out.Close()
		if said.Len() > 0 {
			t.Logf("agent: %s", said.String())
		}
	})
	return c
}

// listen starts reading what the agent says.
func (c *child) listen() *child {
	go func() { _ = c.peer.Run(context.Background()) }()
	return c
}

// start is an agent that has been greeted, and whose heart beats until quiet.
func start(t testing.TB, h protocol.Hello, env ...string) *child {
	t.Helper()
	c := spawn(t, env...).listen()
	if err := c.greet(h); err != nil {
		t.Fatal(err)
	}
	return c
}

func hello(state string) protocol.Hello {
	return protocol.Hello{Run: "test", Mode: protocol.ModeRun, State: state, Header: protocol.RunHeader{Name: "exp1", OutDir: "/tmp/x"}}
}

func (c *child) greet(h protocol.Hello) error {
	if err := c.call(protocol.CallHello, h, &c.welcome); err != nil {
		return err
	}
	every := silence / 6
	if h.Heartbeat > 0 {
		every = h.Heartbeat / 6
	}
	go func() {
		for {
			select {
			case <-c.silent:
				return
			case <-c.peer.Done():
				return
			case <-time.After(every):
				_ = c.call(protocol.CallHeartbeat, protocol.Beat{N: 1}, nil)
			}
		}
	}()
	return nil
}

func (c *child) quiet() { c.hush.Do(func() { close(c.silent) }) }

func (c *child) call(name string, in, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.peer.Call(ctx, name, in, out)
}

func (c *child) Handle(context.Context, string, json.RawMessage) (any, error) {
	return nil, fmt.Errorf("an agent makes no calls")
}

func (c *child) Event(event string, body json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var e protocol.Epoch
	var u protocol.UndoResult
	switch event {
	case protocol.EventEpoch:
		if err := protocol.Decode(body, &e); err != nil {
			c.t.Error(err)
		}
		c.events = append(c.events, e.State+" "+e.Reason)
	case protocol.EventUndone:
		if err := protocol.Decode(body, &u); err != nil {
			c.t.Error(err)
		}
		c.undone = append(c.undone, u)
	case protocol.EventTold:
		var told protocol.Told
		if err := protocol.Decode(body, &told); err != nil {
			c.t.Error(err)
		}
		c.events = append(c.events, told.ID+" "+told.Text)
	case protocol.EventLost:
		var lost protocol.Lost
		if err := protocol.Decode(body, &lost); err != nil {
			c.t.Error(err)
		}
		c.events = append(c.events, "lost "+lost.ID+" "+lost.Error)
	}
}

// order asks for a fault on a container.
func order(id, kind, params string, target fault.Target) protocol.Apply {
	return protocol.Apply{ID: id, Kind: kind, Params: json.RawMessage(params), Target: target, TTL: time.Minute}
}

func (c *child) apply(in protocol.Apply) {
	c.t.Helper()
	var applied protocol.Applied
	if err := c.call(protocol.CallApply, in, &applied); err != nil {
		c.t.Fatal(err)
	}
}

// kill ends the agent as the kernel would.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

func (c *child) wait() int {
	<-c.exited
	return c.cmd.ProcessState.ExitCode()
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Error(err)
	}
}

// recovered is what a new agent says of the dead.
func recovered(t testing.TB, state string) []protocol.Abandoned {
	t.Helper()
	h := hello(state)
	h.Run, h.Mode = "", protocol.ModeRecover
	return start(t, h).told()
}

// told is what an agent has told of dead runs, once their ends are written.
func (c *child) told() []protocol.Abandoned {
	c.t.Helper()
	for _, dead := range c.welcome.Recovered {
		if err := c.call(protocol.CallSettled, protocol.Settled{Run: dead.Run}, nil); err != nil {
			c.t.Error(err)
		}
	}
	return c.welcome.Recovered
}

func wantCode(t testing.TB, err error, code string, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want code %q", code)
		return
	}
	if got := protocol.CodeOf(err); got != code {
		t.Errorf("got code %q of %q, want %q", got, err, code)
	}
	wantIn(t, err.Error(), parts...)
}

func wantIn(t testing.TB, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("got %q, want %q in it", got, p)
		}
	}
}

func paused(c container.InspectResponse) bool { return c.State.Paused }
func down(c container.InspectResponse) bool   { return !c.State.Running }

func ledgers(t testing.TB, state string) []string {
	t.Helper()
	all, err := Status(state)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Run)
	}
	return names
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func itoa(n int) string { return strconv.Itoa(n) }

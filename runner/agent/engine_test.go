package agent

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

// A gateway stands before the real engine and can hang, go away and come back.
type gateway struct {
	t    testing.TB
	path string

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]bool
	delay time.Duration
	hangs bool
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	enginetest.Client(t)
	g := &gateway{t: t, path: filepath.Join(t.TempDir(), "docker.sock"), conns: map[net.Conn]bool{}}
	g.open()
	t.Cleanup(g.shut)
	return g
}

func (g *gateway) env() string { return "DOCKER_HOST=unix://" + g.path }

func (g *gateway) open() {
	l, err := net.Listen("unix", g.path)
	if err != nil {
		g.t.Error(err)
		return
	}
	g.mu.Lock()
	g.l = l
	g.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.carry(c)
		}
	}()
}

func (g *gateway) carry(c net.Conn) {
	to, err := net.Dial("unix", "/var/run/docker.sock")
	if err != nil {
		_ = c.Close()
		return
	}
	g.mu.Lock()
	g.conns[c], g.conns[to] = true, true
	g.mu.Unlock()
	go func() { _, _ = io.Copy(c, to); _ = c.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		g.mu.Lock()
		delay, hangs := g.delay, g.hangs
		g.mu.Unlock()
		time.Sleep(delay)
		if !hangs && n > 0 {
			_, _ = to.Write(buf[:n])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

func (g *gateway) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.l.Close()
	for c := range g.conns {
		_ = c.Close()
	}
	g.conns = map[net.Conn]bool{}
}

func (g *gateway) set(delay time.Duration, hangs bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delay, g.hangs = delay, hangs
}

// The engine goes away with faults in, and comes back while they are undone.
func TestEngineAway(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	a, b := enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(t.TempDir()), g.env())
	c.apply(order("f1", "kill", `{"stays_down":true}`, a.Target()))
	c.apply(order("f2", "pause", `{}`, b.Target()))
	g.shut()
	wantCode(t, c.call(protocol.CallResolve, protocol.Resolve{Targets: []string{"x"}}, nil), protocol.CodeFailed, "cannot reach the Docker engine at unix://")
	_ = c.stdin.Close() // and the supervisor dies as well
	time.Sleep(time.Second)
	if !down(a.Inspect()) || !paused(b.Inspect()) {
		t.Fatal("undone without an engine?")
	}
	g.open()
	a.WaitFor("up", enginetest.Up)
	b.WaitFor("unpaused", enginetest.Up)
	if code := c.wait(); code != 0 {
		t.Errorf("got exit code %d", code)
	}
}

// An engine that stays away leaves its faults stuck, in the ledger.
func TestEngineStaysAway(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	k := enginetest.Run(t, enginetest.Options{})
	h := hello(t.TempDir())
	h.Undo = time.Second
	c := start(t, h, g.env())
	c.apply(order("f1", "pause", `{}`, k.Target()))
	g.shut()
	_ = c.stdin.Close()
	if code := c.wait(); code != 6 {
		t.Errorf("got exit code %d, want 6", code)
	}
	if told := recovered(t, h.State); len(told) != 1 || told[0].Results[0].Error != "" || paused(k.Inspect()) {
		t.Errorf("got %+v", told)
	}
}

// An engine that hangs is waited for within the deadline of the undo.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	k := enginetest.Run(t, enginetest.Options{})
	h := hello(t.TempDir())
	h.Undo = 8 * time.Second // the second undo must fit in on a busy machine
	c := start(t, h, g.env())
	c.apply(order("f1", "pause", `{}`, k.Target()))
	g.set(0, true)
	var undone protocol.Undone
	if err := c.call(protocol.CallUndo, protocol.Undo{IDs: []string{"f1"}, Reason: "asked"}, &undone); err != nil {
		t.Fatal(err)
	}
	if r := undone.Results; len(r) != 1 || r[0].Error == "" {
		t.Fatalf("got %+v", r)
	}
	wantIn(t, undone.Results[0].Error, "has not answered")
	g.set(50*time.Millisecond, false) // slow now, but there
	var again protocol.Undone
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, &again); err != nil {
		t.Fatal(err)
	}
	if r := again.Results; len(r) != 1 || r[0].Error != "" || paused(k.Inspect()) {
		t.Errorf("got %+v", r)
	}
	if err := c.call(protocol.CallClose, nil, nil); err != nil {
		t.Error(err)
	}
}

// An apply whose answer is lost on the way is undone: it may have acted.
func TestApplyWithoutAnswer(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	k := enginetest.Run(t, enginetest.Options{Env: []string{"TERM_MODE=slow"}}).Ready()
	c := start(t, hello(t.TempDir()), g.env())
	before := k.Target()
	applied := make(chan error, 1)
	go func() {
		applied <- c.call(protocol.CallApply, order("f1", "stop", `{"grace":3000000000}`, before), nil)
	}()
	time.Sleep(700 * time.Millisecond)
	g.shut() // the engine goes on with the stop
	g.open()
	wantCode(t, <-applied, protocol.CodeFailed, "undone")
	if after := k.Target(); !enginetest.Up(k.Inspect()) || after.StartedAt == before.StartedAt {
		t.Errorf("the stop was still to come: %+v", after)
	}
}

func TestNoEngine(t *testing.T) {
	t.Parallel()
	c := spawn(t, "DOCKER_HOST=unix:///nowhere/docker.sock").listen()
	wantCode(t, c.greet(hello(t.TempDir())), protocol.CodeFailed, "unix:///nowhere/docker.sock", "running?")
	c = spawn(t, "DOCKER_HOST=nonsense").listen()
	wantCode(t, c.greet(hello(t.TempDir())), protocol.CodeFailed, "DOCKER_HOST")

	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	c = spawn(t, "DOCKER_HOST=unix://"+l.Addr().String()).listen()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	wantCode(t, c.peer.Call(ctx, protocol.CallHello, hello(t.TempDir()), nil), protocol.CodeFailed, "does not answer")
}

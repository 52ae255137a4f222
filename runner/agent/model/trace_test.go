package model

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	realagent "chaosrunner/runner/agent"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

// The agent whose steps are compared is the real one: this binary, started again.
func TestMain(m *testing.M) {
	if os.Getenv("RUNNER_TEST_AGENT") != "" {
		os.Exit(realagent.Main(os.Stdin, os.Stdout, nil))
	}
	enginetest.Main(m)
}

// What a real agent does, with a real container and a real disk, is a way through
// the model.
func TestRealAgent(t *testing.T) {
	k := enginetest.Run(t, enginetest.Options{})
	state := t.TempDir()
	fault := protocol.Apply{ID: "f1", Kind: "pause", Target: k.Target(), TTL: time.Minute}
	rollback := protocol.Rollback{ID: "r1", Module: "//x.star", Func: "f", Args: json.RawMessage(`[]`)}
	steps := strings.Join(slices.Sorted(maps.Keys(failpoints(t))), ",")

	a := begin(t, state, protocol.ModeRun, steps)
	a.call(protocol.CallRollback, rollback)
	a.call(protocol.CallApply, fault)
	a.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"})
	a.call(protocol.CallRolling, protocol.Rolled{ID: "r1"})
	a.call(protocol.CallRolled, protocol.Rolled{ID: "r1"})
	a.call(protocol.CallClose, nil)
	a.end()
	whole := &model{scenario: scenario{faults: one, rollback: true, birth: true}}
	compare(t, whole, "agent", a.seen())

	a = begin(t, state, protocol.ModeRun, steps)
	a.call(protocol.CallApply, fault)
	a.kill()
	b := begin(t, state, protocol.ModeRecover, steps)
	b.end()
	if k.Inspect().State.Paused {
		t.Error("it is still paused")
	}
	compare(t, &model{scenario: aFault}, "heir", b.seen())
}

// compare has the model make the steps, and none that lacks one of them.
func compare(t *testing.T, m *model, who string, hits []string) {
	t.Helper()
	if n := m.follow(who, hits); n < len(hits) {
		t.Fatalf("the model's %s cannot go on to %q after %q", who, hits[n], hits[:n])
	}
	t.Logf("%s: %q", who, hits)
	for i := range len(hits) - 1 {
		if hits[i] == "after-apply" {
			continue // not passed by an apply that fails
		}
		if without := slices.Delete(slices.Clone(hits), i, i+1); m.follow(who, without) == len(without) {
			t.Errorf("the model's %s may leave %s out: its steps say nothing", who, hits[i])
		}
	}
}

// follow says how many of the failpoints one process can pass, in this order,
// whatever the others do meanwhile.
func (m *model) follow(who string, hits []string) int {
	type place struct {
		state
		rest string // failpoints of the step under way that are still to come
	}
	steps := m.steps()
	now := map[place]bool{{state: m.start()}: true}
	for n, want := range hits {
		todo := slices.Collect(maps.Keys(now))
		for len(todo) > 0 { // what happens unseen
			p := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, s := range steps {
				if next := p; (s.who != who || len(s.hits) == 0) && s.can(&next.state) {
					if s.do(&next.state); !now[next] {
						now[next] = true
						todo = append(todo, next)
					}
				}
			}
		}
		then := map[place]bool{}
		for p := range now {
			if p.rest != "" {
				if first, rest, _ := strings.Cut(p.rest, ","); first == want {
					then[place{p.state, rest}] = true
				}
				continue
			}
			for _, s := range steps {
				if next := p; s.who == who && len(s.hits) > 0 && s.hits[0] == want && s.can(&next.state) {
					s.do(&next.state)
					next.rest = strings.Join(s.hits[1:], ",")
					then[next] = true
				}
			}
		}
		if now = then; len(now) == 0 {
			return n
		}
	}
	return len(hits)
}

// A real agent tells of each failpoint that it passes.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	peer  *protocol.Peer

	mu     sync.Mutex
	passed []string
}

func begin(t *testing.T, state, mode, steps string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	door, err := net.Listen("unix", filepath.Join(t.TempDir(), "door"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = door.Close() })
	go p.watch(door)
	p.cmd.Env = append(os.Environ(), "RUNNER_TEST_AGENT=1", "RUNNER_FAILPOINT="+steps+":meet:"+door.Addr().String())
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin, p.peer = stdin, protocol.NewPeer(stdout, stdin, nobodyCalls{})
	go func() { _ = p.peer.Run(context.Background()) }()
	hello := protocol.Hello{Run: "model", Mode: mode, State: state, Heartbeat: time.Hour} // nobody beats
	p.call(protocol.CallHello, hello)
	return p
}

type nobodyCalls struct{}

func (nobodyCalls) Handle(context.Context, string, json.RawMessage) (any, error) { return nil, nil }
func (nobodyCalls) Event(string, json.RawMessage)                                {}

func (p *process) watch(door net.Listener) {
	for {
		c, err := door.Accept()
		if err != nil {
			return
		}
		line, _ := bufio.NewReader(c).ReadString('\n')
		step, _, _ := strings.Cut(line, " ")
		p.mu.Lock()
		p.passed = append(p.passed, step)
		p.mu.Unlock()
		_ = c.Close() // it may go on
	}
}

func (p *process) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.passed)
}

func (p *process) call(name string, in any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := p.peer.Call(ctx, name, in, nil); err != nil {
		p.kill()
		p.t.Fatalf("%s: %v", name, err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) end() {
	p.t.Helper()
	_ = p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the agent: %v", err)
	}
}

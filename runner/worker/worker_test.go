package worker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// supervisor answers a worker's calls as a run would.
type supervisor struct {
	sources map[string]string // by module
	script  string
	during  func(call string) // called before each answer; may be nil
	fail    map[string]error

	mu    sync.Mutex
	calls []string
}

func (s *supervisor) Event(string, json.RawMessage) {}

func (s *supervisor) Handle(_ context.Context, call string, body json.RawMessage) (any, error) {
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	if s.during != nil {
		s.during(call)
	}
	if err := s.fail[call]; err != nil {
		return nil, err
	}
	switch call {
	case protocol.CallSource:
		var in protocol.Source
		if err := protocol.Decode(body, &in); err != nil {
			return nil, err
		}
		return s.source(in)
	case protocol.CallFault:
		var in spec.Fault
		if err := protocol.Decode(body, &in); err != nil {
			return nil, err
		}
		return protocol.Handle{ID: "f1", Targets: []fault.Target{{Name: in.Targets[0]}}}, nil
	case protocol.CallObserve:
		half := 0.5
		return protocol.Figures{Values: map[string]protocol.Figure{"availability": {Value: &half, Count: 7}}}, nil
	case protocol.CallHTTP:
		return protocol.HTTPReply{Status: 204}, nil
	case protocol.CallTargets:
		return protocol.Resolved{Matches: []protocol.Match{{Expr: "catalog", Targets: []fault.Target{{Name: "shop_catalog_1"}}}}}, nil
	case protocol.CallNote, protocol.CallRelease, protocol.CallRegister:
		return nil, nil
	}
	return nil, protocol.Errorf(protocol.CodeUnknown, "unknown call %q", call)
}

func (s *supervisor) source(in protocol.Source) (protocol.Sourced, error) {
	id := s.script
	if in.Path != "" {
		var err error
		if id, err = protocol.ModuleName(in.Path, in.From); err != nil {
			return protocol.Sourced{}, err
		}
	}
	source, ok := s.sources[id]
	if !ok {
		return protocol.Sourced{}, errors.New("there is no " + id)
	}
	return protocol.Sourced{Module: id, Name: strings.TrimPrefix(id, "//"), Source: source}, nil
}

func (s *supervisor) did() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, " ")
}

// started is a worker in this process, without a cage.
type started struct {
	peer    *protocol.Peer
	stdin   io.Closer // the link's end, as the worker sees it
	signals chan os.Signal
	code    chan int
}

func start(t *testing.T, s *supervisor, opt Options) *started {
	t.Helper()
	toWorker, fromUs := io.Pipe()
	toUs, fromWorker := io.Pipe()
	w := &started{stdin: fromUs, signals: make(chan os.Signal, 1), code: make(chan int, 1)}
	if opt.Enter == nil {
		opt.Enter = func() ([]string, error) { return []string{"a ring"}, nil }
	}
	opt.Signals = w.signals
	go func() {
		code := Main(toWorker, fromWorker, opt)
		_ = fromWorker.Close()
		w.code <- code
	}()
	w.peer = protocol.NewPeer(toUs, fromUs, s)
	go func() { _ = w.peer.Run(context.Background()) }()
	t.Cleanup(func() { _ = fromUs.Close() })
	return w
}

func (w *started) load(t *testing.T, in protocol.Load) protocol.Loaded {
	t.Helper()
	var out protocol.Loaded
	if err := w.peer.Call(t.Context(), protocol.CallLoad, in, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

const head = `
hypothesis("it sells")
blast_radius("catalog", "60s")
t = traffic("http://localhost:8080/", "1/s")
availability = slo("availability", t.success, min = 0.9)
abort_if(availability)
`

func script(method string) *supervisor {
	return &supervisor{script: "//x.star", sources: map[string]string{"//x.star": head + method}}
}

func TestLoadMethodAndRoll(t *testing.T) {
	s := script(`
def tidy(h, n):
    h.undo()
    expect(http("http://localhost:8080/").status == 204, "it answers")
    note("tidied %d" % n)
def method():
    chosen = pick("catalog", n = 1)
    h = kill(chosen, duration = "5s")
    expect(h.targets == ["shop_catalog_1"], "targets")
    rollback(tidy, h, 3)
    w = observe("1s")
    expect(w[availability].value == 0.5 and w[availability].count == 7, "figures")
    h.undo()
    note("done")
`)
	w := start(t, s, Options{})
	out := w.load(t, protocol.Load{Script: "x.star", Mode: protocol.FullRun})
	if len(out.Errors) > 0 || out.Experiment == nil || out.Experiment.Name != "x" || len(out.Experiment.Steps) != 5 || out.Rings[0] != "a ring" {
		t.Fatalf("got %+v", out)
	}
	if got := s.did(); got != "source targets" {
		t.Errorf("loading called %s", got)
	}
	var ended protocol.Ended
	if err := w.peer.Call(t.Context(), protocol.CallMethod, nil, &ended); err != nil || ended != (protocol.Ended{}) {
		t.Fatalf("got %+v %v, %v", ended.Error, ended.Expect, err)
	}
	roll := protocol.Roll{ID: "r1", Module: "//x.star", Func: "tidy", Args: []byte(`[{"$fault":{"kind":"kill","id":"f1","targets":["c"]}}, 3]`)}
	if err := w.peer.Call(t.Context(), protocol.CallRoll, roll, &ended); err != nil || ended != (protocol.Ended{}) {
		t.Fatalf("got %+v, %v", ended, err)
	}
	if got := s.did(); got != "source targets targets fault rollback observe release note release http note" {
		t.Errorf("got %s", got)
	}
	_ = w.stdin.Close()
	if code := <-w.code; code != 0 {
		t.Errorf("got exit code %d at the end of the link", code)
	}
}

func TestBadCalls(t *testing.T) {
	w := start(t, script("def method(): pass"), Options{})
	for call, in := range map[string]any{
		protocol.CallMethod: nil, protocol.CallRoll: protocol.Roll{}, "reboot": nil, protocol.CallLoad: map[string]string{"mode": "check", "unknown": "field"},
	} {
		if err := w.peer.Call(t.Context(), call, in, nil); err == nil {
			t.Errorf("%s: no error before load", call)
		}
	}
	w.load(t, protocol.Load{Script: "x.star", Mode: protocol.CheckOnly})
	if err := w.peer.Call(t.Context(), protocol.CallLoad, protocol.Load{Script: "x.star"}, nil); protocol.CodeOf(err) != protocol.CodeBad {
		t.Errorf("a second load: got %v", err)
	}
}

func TestErrorsOfTheScript(t *testing.T) {
	w := start(t, script("kil()\n"), Options{})
	out := w.load(t, protocol.Load{Script: "x.star", Mode: protocol.CheckOnly})
	if out.Experiment != nil || len(out.Errors) != 1 || out.Errors[0].Error() != "x.star:7:1: undefined: kil (did you mean kill?)" {
		t.Errorf("got %+v", out)
	}
}

func TestCheckSLIIsAsked(t *testing.T) {
	w := start(t, script("slo('x', 'up', min = 1)\n"), Options{CheckSLI: func(s spec.SLI) error { return errors.New("no " + s.Query) }})
	out := w.load(t, protocol.Load{Script: "x.star", Mode: protocol.CheckOnly})
	if len(out.Errors) != 1 || out.Errors[0].Error() != "x.star:7:4: slo: sli: no up" {
		t.Errorf("got %+v", out)
	}
}

// One call at a time: the interpreter is not made for two.
func TestBusy(t *testing.T) {
	s := script("def method(): observe('1s')\n")
	in, on := make(chan struct{}), make(chan struct{})
	s.during = func(call string) {
		if call == protocol.CallObserve {
			close(in)
			<-on
		}
	}
	w := start(t, s, Options{})
	w.load(t, protocol.Load{Script: "x.star", Mode: protocol.FullRun})
	done := make(chan error)
	go func() { done <- w.peer.Call(context.Background(), protocol.CallMethod, nil, nil) }()
	<-in
	if err := w.peer.Call(t.Context(), protocol.CallMethod, nil, nil); protocol.CodeOf(err) != protocol.CodeBusy {
		t.Errorf("got %v", err)
	}
	close(on)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// SIGTERM ends a method that waits for the world, and tells how it ended.
func TestTermEndsAWaitingMethod(t *testing.T) {
	s := script("def method():\n    observe('1s')\n    note('never')\n")
	in, never := make(chan struct{}), make(chan struct{})
	s.during = func(call string) {
		if call == protocol.CallObserve {
			close(in)
			<-never
		}
	}
	defer close(never)
	w := start(t, s, Options{})
	w.load(t, protocol.Load{Script: "x.star", Mode: protocol.FullRun})
	var ended protocol.Ended
	done := make(chan error)
	go func() { done <- w.peer.Call(context.Background(), protocol.CallMethod, nil, &ended) }()
	<-in
	w.signals <- syscall.SIGTERM
	if code := <-w.code; code != 143 {
		t.Errorf("got exit code %d", code)
	}
	if err := <-done; err == nil && (ended.Error == nil || !strings.Contains(ended.Error.Message, "stopped: the worker was told to end")) {
		t.Errorf("got %+v", ended)
	}
	if strings.Contains(s.did(), "note") {
		t.Error("the method went on")
	}
}

// SIGTERM, and the end of the link, end a script that computes.
func TestEndOfASpinningScript(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(*started)
		code int
	}{
		"SIGTERM":  {func(w *started) { w.signals <- syscall.SIGTERM }, 143},
		"the link": {func(w *started) { _ = w.stdin.Close() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := script("note('spinning')\nfor i in range(1 << 30):\n    for j in range(1 << 30): pass\n")
			spinning := make(chan struct{})
			s.during = func(call string) {
				if call == protocol.CallNote {
					close(spinning)
				}
			}
			w := start(t, s, Options{})
			go func() {
				_ = w.peer.Call(context.Background(), protocol.CallLoad, protocol.Load{Script: "x.star", Steps: 1 << 60}, nil)
			}()
			<-spinning
			for range 50 { // the answer to note has arrived: only a running script is left
				_ = w.peer.Call(t.Context(), protocol.CallMethod, nil, nil)
			}
			end.do(w)
			if code := <-w.code; code != end.code {
				t.Errorf("got exit code %d, want %d", code, end.code)
			}
			until := time.Now().Add(10 * time.Second)
			for stacks := make([]byte, 1<<20); strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "starlark.Call"); {
				if time.Now().After(until) {
					t.Fatal("the script still computes")
				}
			}
		})
	}
}

// A worker outside of its cage runs nothing.
func TestNoCageNoScript(t *testing.T) {
	s := script("def method(): pass")
	w := start(t, s, Options{Enter: func() ([]string, error) { return nil, errors.New("no cage") }})
	if code := <-w.code; code != 1 {
		t.Errorf("got exit code %d", code)
	}
	if got := s.did(); got != "" {
		t.Errorf("it called %s", got)
	}
}

func TestGarbageOnTheLink(t *testing.T) {
	if code := Main(strings.NewReader("{\"v\":1,\"id\":1}\nnot json\n"), io.Discard, Options{
		Enter: func() ([]string, error) { return nil, nil }, Signals: make(chan os.Signal),
	}); code != 1 {
		t.Errorf("got exit code %d", code)
	}
}

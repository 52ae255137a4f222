package agent

import (
	"path/filepath"
	"testing"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

func shared(state, run string) protocol.Hello {
	h := hello(state)
	h.Run, h.Shared = run, true
	return h
}

func (c *child) tries(id, kind string, target fault.Target) error {
	return c.call(protocol.CallApply, order(id, kind, `{}`, target), nil)
}

// Shared runs go on beside each other, each container harmed by one of them,
// and a run that wants the engine for itself goes beside none.
func TestSharedRuns(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	web, api := enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{})
	one, two := start(t, shared(state, "one")), start(t, shared(state, "two"))
	one.apply(order("f1", "pause", `{}`, web.Target()))
	two.apply(order("f1", "pause", `{}`, api.Target()))
	if !paused(web.Inspect()) || !paused(api.Inspect()) {
		t.Fatal("not both are paused")
	}
	alone := hello(state)
	alone.Run = "alone"
	wantCode(t, spawn(t).listen().greet(alone), protocol.CodeBusy, "run one (agent pid", "run two (agent pid", "share this engine")

	wantCode(t, two.tries("f2", "kill", web.Target()), protocol.CodeRefused, "run one (agent pid", "holds container "+web.Name, "runner stop one")
	err := two.call(protocol.CallDescribe, order("plan", "kill", `{}`, web.Target()), nil)
	wantCode(t, err, protocol.CodeRefused, "holds container "+web.Name)
	if err := one.call(protocol.CallUndo, protocol.Undo{IDs: []string{"f1"}}, nil); err != nil {
		t.Fatal(err)
	}
	two.apply(order("f3", "pause", `{}`, web.Target()))
	if err := two.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := one.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, nil); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(state + "/*/target-*"); len(left) != 0 || paused(web.Inspect()) || paused(api.Inspect()) {
		t.Errorf("left %v", left)
	}
	last := start(t, alone) // the epochs of the others are over
	wantCode(t, spawn(t).listen().greet(shared(state, "three")), protocol.CodeBusy, "run alone (agent pid")
	_ = last
}

// A container stays with its run until the last of its faults is out.
func TestSharedRunWithTwoFaults(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	web := enginetest.Run(t, enginetest.Options{})
	one, two := start(t, shared(state, "one")), start(t, shared(state, "two"))
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	one.apply(order("f1", "touch", `{"path":"`+a+`"}`, web.Target()))
	one.apply(order("f2", "touch", `{"path":"`+b+`"}`, web.Target()))
	wantCode(t, one.tries("f3", "pause", fault.Target{Name: web.Name, ID: web.ID, StartedAt: "long ago"}), protocol.CodeRefused)
	for _, id := range []string{"f1", "f2"} {
		wantCode(t, two.tries("early-"+id, "pause", web.Target()), protocol.CodeRefused, "run one")
		if err := one.call(protocol.CallUndo, protocol.Undo{IDs: []string{id}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	two.apply(order("f1", "pause", `{}`, web.Target()))
}

// What a shared run leaves when it dies keeps every other from its container,
// until it is undone; and that is done beside those that live.
func TestSharedRunDies(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	web, api := enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{})
	one, two := start(t, shared(state, "one")), start(t, shared(state, "two"))
	one.apply(order("f1", "pause", `{}`, web.Target()))
	two.apply(order("f1", "pause", `{}`, api.Target()))
	one.kill()
	wantCode(t, two.tries("f2", "kill", web.Target()), protocol.CodeRefused, "still has the pause of run one", "runner recover")
	if told := recovered(t, state); len(told) != 1 || told[0].Run != "one" {
		t.Errorf("got %+v, want what became of one", told)
	}
	if paused(web.Inspect()) || !paused(api.Inspect()) {
		t.Error("want the dead run's container back, and that of the other as it was")
	}
	two.apply(order("f3", "pause", `{}`, web.Target()))
}

// Containers that share a network namespace are one target for what harms it,
// and two for all else.
func TestSharedRunsInOneNamespace(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	web := enginetest.Run(t, enginetest.Options{Network: "bridge"})
	proxy := enginetest.Run(t, enginetest.Options{Network: "container:" + web.ID, Env: []string{"LISTEN=:8081"}})
	one, two := start(t, shared(state, "one")), start(t, shared(state, "two"))
	one.apply(order("f1", "netem", `{"delay":1000000}`, web.Target()))
	late := order("f1", "netem", `{"loss":0.5,"protocol":"udp"}`, proxy.Target())
	for _, call := range []string{protocol.CallDescribe, protocol.CallApply} {
		wantCode(t, two.call(call, late, nil), protocol.CodeRefused, "run one (agent pid", "holds the network namespace of container "+proxy.Name)
	}
	two.apply(order("f2", "pause", `{}`, proxy.Target()))
	if err := two.call(protocol.CallUndo, protocol.Undo{IDs: []string{"f2"}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := one.call(protocol.CallUndo, protocol.Undo{IDs: []string{"f1"}}, nil); err != nil {
		t.Fatal(err)
	}
	late.Target = proxy.Target()
	two.apply(late)
	if err := two.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, nil); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(state + "/*/target-*"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

// A touch is a fault that is a file. It is as rude as a fault may be: it looks
// at no context, takes its time, and panics when asked to.
type touch struct {
	Path   string        `json:"path"`
	Slow   time.Duration `json:"slow"`
	Panics int           `json:"panics"`
	Target fault.Target  `json:"target"`
}

func (f *touch) Validate() error { return nil }

func (f *touch) Params() fault.Params { return f }

func (f *touch) Prepare(_ context.Context, _ fault.World, t fault.Target) error {
	f.Target = t
	return nil
}

func (f *touch) Apply(context.Context, fault.World) error {
	time.Sleep(f.Slow)
	return os.WriteFile(f.Path, nil, 0o600)
}

func (f *touch) Undo(context.Context, fault.World, fault.Past) (string, error) {
	if f.Panics--; f.Panics >= 0 {
		panic("rude")
	}
	err := os.Remove(f.Path)
	if errors.Is(err, os.ErrNotExist) {
		return "it was not there", nil
	}
	return "", err
}

func (f *touch) Describe() fault.Words {
	return fault.Words{Harm: "touch " + f.Path, Remedy: "remove it", Held: fault.HeldByEngine}
}

func (f *touch) Mend() string { return "rm " + f.Path }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// An apply that does not listen to its cancelling is waited for, and undone.
func TestRudeApply(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(t.TempDir()))
	path := filepath.Join(t.TempDir(), "harm")
	applied := make(chan error, 1)
	go func() {
		applied <- c.call(protocol.CallApply, order("f1", "touch", `{"path":"`+path+`","slow":700000000}`, k.Target()), nil)
	}()
	time.Sleep(300 * time.Millisecond)
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "abort"}, nil); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-applied, protocol.CodeClosed)
	if exists(path) {
		t.Error("it landed after its undo")
	}
}

// An epoch that ends between a fault's intent and its apply: it is not applied,
// whatever it thinks of a context that has ended.
func TestEpochEndsAfterIntent(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	state := t.TempDir()
	c := start(t, hello(state), "RUNNER_FAILPOINT=after-intent:wait")
	path := filepath.Join(t.TempDir(), "harm")
	applied := make(chan error, 1)
	go func() {
		applied <- c.call(protocol.CallApply, order("f1", "touch", `{"path":"`+path+`"}`, k.Target()), nil)
	}()
	waitUntil(t, "the intent", func() bool {
		s, err := Status(state)
		return err == nil && len(s) == 1 && len(s[0].In) == 1
	})
	var undone protocol.Undone
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "abort"}, &undone); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-applied, protocol.CodeClosed)
	if exists(path) {
		t.Error("it is in")
	}
	for _, r := range undone.Results {
		if r.Note != "it was not there" {
			t.Errorf("it was applied after the end of the epoch: %+v", r)
		}
	}
}

// A panic in one undo is an attempt that failed, and keeps no other in.
func TestRudeUndo(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	dir := t.TempDir()
	h := hello(t.TempDir())
	h.Undo = 2 * time.Second
	c := start(t, h)
	c.apply(order("f1", "touch", `{"path":"`+dir+`/a"}`, k.Target()))
	c.apply(order("f2", "touch", `{"path":"`+dir+`/b","panics":1}`, k.Target()))
	c.apply(order("f3", "touch", `{"path":"`+dir+`/c","panics":1000}`, k.Target()))
	var undone protocol.Undone
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, &undone); err != nil {
		t.Fatal(err)
	}
	if exists(dir+"/a") || exists(dir+"/b") || !exists(dir+"/c") || len(undone.Results) != 3 {
		t.Fatalf("got %+v", undone.Results)
	}
	if r := undone.Results; r[0].Error != "" || r[1].Error != "" || r[1].Attempts != 2 || r[2].Error == "" {
		t.Errorf("got %+v", r)
	}
	wantIn(t, undone.Results[2].Error, "panic in the undo: rude")
}

// A ledger of another version has kinds that we do not know: they are stuck,
// told with the command that mends them, and keep nothing else in.
func TestUnknownKind(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	dir, state := t.TempDir(), t.TempDir()
	c := start(t, hello(state))
	c.apply(order("f1", "pause", `{}`, k.Target()))
	c.apply(order("f2", "touch", `{"path":"`+dir+`/a"}`, k.Target()))
	c.kill()
	h := hello(state)
	h.Mode, h.Run = protocol.ModeRecover, ""
	told := start(t, h, "RUNNER_TEST_AGENT=old").welcome.Recovered
	if len(told) != 1 || len(told[0].Results) != 2 || paused(k.Inspect()) {
		t.Fatalf("got %+v", told)
	}
	if r := told[0].Results[1]; r.Kind != "touch" || r.Mend != "rm "+dir+"/a" {
		t.Errorf("got %+v", r)
	}
	wantIn(t, told[0].Results[1].Error, `got kind "touch"`)
	if told := recovered(t, state); len(told) != 1 || exists(dir+"/a") || len(ledgers(t, state)) != 0 {
		t.Errorf("got %+v", told)
	}
}

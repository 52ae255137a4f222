package agent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

// A frail is a touch that measures, tells, can be changed, and is lost when its
// file is removed behind its back.
type frail struct {
	touch
	Text string `json:"text"`

	lost     chan error
	undone   atomic.Bool
	findings []fault.Finding
}

func (f *frail) Params() fault.Params { return f }

func (f *frail) Apply(ctx context.Context, w fault.World) error {
	w.Tell("about to write")
	f.lost = make(chan error, 1)
	if err := f.touch.Apply(ctx, w); err != nil {
		return err
	}
	f.findings = append(f.findings, fault.Finding{Text: "it is there", Figures: map[string]float64{"files": 1}})
	go func() {
		for exists(f.Path) {
			time.Sleep(20 * time.Millisecond)
		}
		if !f.undone.Load() {
			f.lost <- errors.New("the file has gone")
		}
		close(f.lost)
	}()
	return nil
}

func (f *frail) Update(_ context.Context, w fault.World, params json.RawMessage) error {
	var p frail
	if err := json.Unmarshal(params, &p); err != nil {
		return err
	}
	if p.Path != f.Path {
		return fault.ErrRefused
	}
	w.Tell("about to rewrite")
	return os.WriteFile(f.Path, []byte(p.Text), 0o600)
}

func (f *frail) Undo(ctx context.Context, w fault.World, past fault.Past) (string, error) {
	f.undone.Store(true)
	note, err := f.touch.Undo(ctx, w, past)
	if err == nil {
		f.findings = append(f.findings, fault.Finding{Text: "it is gone"})
	}
	return note, err
}

func (f *frail) Lost() <-chan error { return f.lost }

func (f *frail) Findings() []fault.Finding {
	found := f.findings
	f.findings = nil
	return found
}

func (c *child) heard(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.events, func(e string) bool { return strings.Contains(e, what) })
}

// What a fault measures and says reaches the supervisor; it can be changed
// while it is in, and only then; that it stopped acting by itself is told.
func TestLivingFault(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(t.TempDir()))
	path := filepath.Join(t.TempDir(), "harm")
	params := func(text string) json.RawMessage {
		return json.RawMessage(mustJSON(t, map[string]string{"path": path, "text": text}))
	}
	var applied protocol.Applied
	if err := c.call(protocol.CallApply, order("f1", "frail", string(params("")), k.Target()), &applied); err != nil {
		t.Fatal(err)
	}
	if len(applied.Findings) != 1 || applied.Findings[0].Figures["files"] != 1 {
		t.Errorf("got findings %+v after apply", applied.Findings)
	}
	waitUntil(t, "the remark", func() bool { return c.heard("f1 about to write") })

	if err := c.call(protocol.CallUpdate, protocol.Update{ID: "f1", Params: params("more")}, nil); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "more" {
		t.Errorf("after the update the file says %q, %v", raw, err)
	}
	waitUntil(t, "the second remark", func() bool { return c.heard("f1 about to rewrite") })
	wantCode(t, c.call(protocol.CallUpdate, protocol.Update{ID: "f1", Params: json.RawMessage(`{"path":"/elsewhere"}`)}, nil), protocol.CodeRefused, "frail")
	wantCode(t, c.call(protocol.CallUpdate, protocol.Update{ID: "f7"}, nil), protocol.CodeBad, `no fault "f7"`)

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the loss", func() bool { return c.heard("lost f1 the file has gone") })
	var undone protocol.Undone
	if err := c.call(protocol.CallUndo, protocol.Undo{IDs: []string{"f1"}, Reason: "test"}, &undone); err != nil {
		t.Fatal(err)
	}
	if r := undone.Results; len(r) != 1 || len(r[0].Findings) != 1 || r[0].Findings[0].Text != "it is gone" {
		t.Errorf("got %+v, want the finding that it is gone", r)
	}
	wantCode(t, c.call(protocol.CallUpdate, protocol.Update{ID: "f1", Params: params("late")}, nil), protocol.CodeRefused, "undone already")
}

// Most kinds cannot be changed, and none once everything is undone.
func TestUpdateRefused(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(t.TempDir()))
	c.apply(order("f1", "pause", `{}`, k.Target()))
	wantCode(t, c.call(protocol.CallUpdate, protocol.Update{ID: "f1"}, nil), protocol.CodeRefused, "cannot be changed")
	path := filepath.Join(t.TempDir(), "harm")
	c.apply(order("f2", "frail", `{"path":"`+path+`"}`, k.Target()))
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, nil); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.call(protocol.CallUpdate, protocol.Update{ID: "f2", Params: json.RawMessage(`{"path":"` + path + `"}`)}, nil), protocol.CodeClosed)
	if exists(path) {
		t.Error("it was changed after the end")
	}
	if c.heard("lost") {
		t.Error("an undo passes for a loss")
	}
}

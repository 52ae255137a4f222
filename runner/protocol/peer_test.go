package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// echo answers "echo" with what it got, "fail" with an error, and hangs on
// "hang" until its context ends.
type echo struct{ events chan string }

func (e echo) Handle(ctx context.Context, call string, body json.RawMessage) (any, error) {
	switch call {
	case "echo":
		var in Note
		if err := Decode(body, &in); err != nil {
			return nil, err
		}
		return in, nil
	case "fail":
		return nil, fmt.Errorf("kill: %w", Errorf(CodeNoTarget, "no container catalog"))
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, Errorf(CodeUnknown, "unknown call %q", call)
}

func (e echo) Event(event string, _ json.RawMessage) {
	if e.events != nil {
		e.events <- event
	}
}

// link joins two peers and returns the one that calls, and the write end of
// its reading pipe for lines by hand.
func link(t *testing.T) (near *Peer, toNear *io.PipeWriter, far *Peer, nearDown chan error) {
	t.Helper()
	nearIn, farOut := io.Pipe()
	farIn, nearOut := io.Pipe()
	near = NewPeer(nearIn, nearOut, echo{events: make(chan string, 10)})
	far = NewPeer(farIn, farOut, echo{})
	nearDown = make(chan error, 1)
	go func() { nearDown <- near.Run(context.Background()) }()
	go func() { _ = far.Run(context.Background()) }() // ends with its pipe
	t.Cleanup(func() { nearOut.Close(); farOut.Close(); nearIn.Close(); farIn.Close() })
	return near, farOut, far, nearDown
}

func TestCall(t *testing.T) {
	near, _, _, _ := link(t)
	var out Note
	if err := near.Call(t.Context(), "echo", Note{Text: "line one\nline two"}, &out); err != nil || out.Text != "line one\nline two" {
		t.Errorf("echo: got %+v, %v", out, err)
	}
	err := near.Call(t.Context(), "fail", nil, nil)
	if CodeOf(err) != CodeNoTarget || err.Error() != "kill: no container catalog" {
		t.Errorf("fail: got %q with code %q; want the whole text and the code", err, CodeOf(err))
	}
	if err := near.Call(t.Context(), "nonsense", nil, nil); CodeOf(err) != CodeUnknown {
		t.Errorf("an unknown call: got %v, want %s", err, CodeUnknown)
	}
	if err := near.Call(t.Context(), "echo", map[string]any{"text": "a", "colour": "b"}, nil); CodeOf(err) != CodeBad || !strings.Contains(err.Error(), "colour") {
		t.Errorf("an unknown field: got %v, want %s that names it", err, CodeBad)
	}
}

func TestEvents(t *testing.T) {
	near, _, far, _ := link(t)
	far.Notify("undone", nil)
	if got := <-near.handler.(echo).events; got != "undone" {
		t.Errorf("got event %q", got)
	}
}

func TestCallEnds(t *testing.T) {
	near, toNear, _, _ := link(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := near.Call(ctx, "hang", nil, nil); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("a cancelled call: got %v, want its cause", err)
	}
	result := make(chan error)
	go func() { result <- near.Call(t.Context(), "hang", nil, nil) }()
	toNear.Close()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("a call whose link broke: got %v, want ErrClosed", err)
	}
	if err := near.Call(t.Context(), "echo", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a call on a broken link: got %v, want ErrClosed", err)
	}
}

func TestBadLines(t *testing.T) {
	for name, line := range map[string]string{
		"garbage":       "hello\n",
		"empty":         "\n",
		"unknown field": `{"v":1,"id":1,"call":"echo","sudo":true}` + "\n",
		"version":       `{"v":2,"id":1,"call":"echo"}` + "\n",
		"never asked":   `{"v":1,"id":99,"body":{}}` + "\n",
		"no kind":       `{"v":1}` + "\n",
		"two values":    `{"v":1,"event":"a"} {"v":1,"event":"b"}` + "\n",
		"too long":      `{"v":1,"event":"` + strings.Repeat("x", MaxLine) + `"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, toNear, _, down := link(t)
			go func() { _, _ = io.WriteString(toNear, line) }() // the reader may stop midway
			select {
			case err := <-down:
				if err == nil {
					t.Error("got a link that ended in order, want an error")
				}
			case <-time.After(10 * time.Second):
				t.Error("got a link that hangs, want an error")
			}
		})
	}
}

// TestNotifyNeverWaits: nobody reads, and still the agent's events return.
func TestNotifyNeverWaits(t *testing.T) {
	in, _ := io.Pipe()
	_, out := io.Pipe()
	p := NewPeer(in, out, echo{})
	go func() { _ = p.Run(t.Context()) }() // ends with the test's process
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 * queueLength {
			p.Notify("undone", nil)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Notify waits for a reader that never comes")
	}
}

func FuzzPeer(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":1,"call":"echo","body":{"text":"x"}}` + "\n"))
	f.Add([]byte("{\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = NewPeer(strings.NewReader(string(input)), io.Discard, echo{}).Run(ctx) // must only not hang or panic
		}()
		select {
		case <-ended:
		case <-ctx.Done():
			t.Fatalf("hangs on %q", input)
		}
	})
}

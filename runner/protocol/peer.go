// Package protocol is how the three processes talk: JSON, one message a line,
// over stdio.
//
//	supervisor ──{"v":1,"id":7,"call":"apply","body":{…}}──▶ agent
//	supervisor ◀─{"v":1,"id":7,"body":{…}}─────────────────── agent      a reply
//	supervisor ◀─{"v":1,"event":"undone","body":{…}}───────── agent      an event
//
// Both ends may call. A line over the limit, a line that is no message, another
// version, or a reply to nothing asked closes the link with an error; a call
// of an unknown name or with an unknown field is answered with one. Nothing
// here waits forever: a call ends with its context or with the link.
package protocol

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Version is what both ends must speak.
const Version = 1

// The bounds of a link.
const (
	MaxLine     = 32 << 20 // bytes in one line, the newline included
	maxInFlight = 256      // calls of the other end being handled at once
	queueLength = 1024     // lines waiting to be written
)

// The codes an Error carries, where the other end acts on them.
const (
	CodeClosed   = "closed"  // the agent's epoch is over: nothing can be injected any more
	CodeRefused  = "refused" // looked at and refused; nothing was touched
	CodeNoTarget = "no_target"
	CodeBusy     = "busy" // another run holds the engine
	CodeUnknown  = "unknown_call"
	CodeBad      = "bad_request"
	CodeFailed   = "failed"
)

// Error is an error that crosses a link.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error with a code.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of the Error in err's chain; "" if there is none.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// ErrClosed is what calls get once the link is down.
var ErrClosed = errors.New("protocol: the link is closed")

type frame struct {
	V     int             `json:"v"`
	ID    uint64          `json:"id,omitempty"`
	Call  string          `json:"call,omitempty"`
	Event string          `json:"event,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
	Error *Error          `json:"error,omitempty"`
}

// A Handler answers the other end's calls and takes its events. It runs on a
// goroutine of its own for each call; events come one after another.
type Handler interface {
	Handle(ctx context.Context, call string, body json.RawMessage) (any, error)
	Event(event string, body json.RawMessage)
}

// A Peer is one end of a link.
type Peer struct {
	r       io.Reader
	w       io.Writer
	handler Handler

	out    chan []byte
	done   chan struct{} // closed when Run returns
	flight chan struct{}

	unsent atomic.Int64 // lines queued and not yet written

	mu      sync.Mutex
	next    uint64
	pending map[uint64]chan frame
	err     error
}

// NewPeer makes one end of a link; Run drives it.
func NewPeer(r io.Reader, w io.Writer, h Handler) *Peer {
	return &Peer{
		r: r, w: w, handler: h,
		out:     make(chan []byte, queueLength),
		done:    make(chan struct{}),
		flight:  make(chan struct{}, maxInFlight),
		pending: map[uint64]chan frame{},
	}
}

// Run reads until EOF (nil), a bad line or a failed write, then fails every
// call that waits. It does not close the reader: a caller that must end a
// blocked Run closes it.
func (p *Peer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go p.writeLoop()
	err := p.readLoop(ctx)
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(p.done)
	return err
}

// Done is closed once the link is down.
func (p *Peer) Done() <-chan struct{} { return p.done }

func (p *Peer) readLoop(ctx context.Context) error {
	lines := bufio.NewScanner(p.r)
	lines.Buffer(make([]byte, 0, 64<<10), MaxLine)
	for lines.Scan() {
		line := lines.Bytes()
		var f frame
		if err := decodeStrict(line, &f); err != nil {
			return fmt.Errorf("protocol: malformed message %.80q: %w", line, err)
		}
		if f.V != Version {
			return fmt.Errorf("protocol: got version %d, want %d: both ends must be the same runner", f.V, Version)
		}
		if err := p.take(ctx, f); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return fmt.Errorf("protocol: got a message of more than %d bytes", MaxLine)
		}
		return fmt.Errorf("protocol: read: %w", err)
	}
	return nil
}

func (p *Peer) take(ctx context.Context, f frame) error {
	switch {
	case f.Call != "" && f.ID != 0:
		select {
		case p.flight <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		go func() {
			defer func() { <-p.flight }()
			p.answer(ctx, f)
		}()
	case f.Event != "":
		p.handler.Event(f.Event, f.Body)
	case f.ID != 0:
		p.mu.Lock()
		reply, known := p.pending[f.ID]
		delete(p.pending, f.ID)
		p.mu.Unlock()
		if !known && f.ID > p.last() {
			return fmt.Errorf("protocol: got a reply to call %d, which was never made", f.ID)
		}
		if known { // else its caller has given up
			reply <- f
		}
	default:
		return errors.New("protocol: got a message that is no call, reply or event")
	}
	return nil
}

func (p *Peer) last() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

func (p *Peer) answer(ctx context.Context, f frame) {
	reply := frame{V: Version, ID: f.ID}
	result, err := p.handler.Handle(ctx, f.Call, f.Body)
	if err == nil {
		reply.Body, err = json.Marshal(result)
	}
	if err != nil {
		reply.Body = nil
		if !errors.As(err, &reply.Error) {
			reply.Error = &Error{Code: CodeFailed, Message: err.Error()}
		} else if reply.Error.Message != err.Error() { // keep what wraps it
			reply.Error = &Error{Code: reply.Error.Code, Message: err.Error()}
		}
	}
	p.post(reply)
}

// Notify sends an event. It never waits: with the queue full the event is lost,
// since no undo may wait for somebody to read about it.
func (p *Peer) Notify(event string, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		return
	}
	p.post(frame{V: Version, Event: event, Body: raw})
}

func (p *Peer) post(f frame) {
	line, err := encode(f)
	if err != nil {
		line, _ = encode(frame{V: Version, ID: f.ID, Error: Errorf(CodeFailed, "%v", err)})
	}
	p.unsent.Add(1)
	select {
	case p.out <- line:
	default:
		p.unsent.Add(-1)
	}
}

// Flush waits until what was posted is written, but not longer than d: for the
// last words of a process.
func (p *Peer) Flush(d time.Duration) {
	for until := time.Now().Add(d); p.unsent.Load() > 0 && time.Now().Before(until); {
		time.Sleep(2 * time.Millisecond)
	}
}

// Call asks the other end and waits for the answer, the context or the link's
// end. in and out may be nil.
func (p *Peer) Call(ctx context.Context, call string, in, out any) error {
	f := frame{V: Version, Call: call}
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("protocol: %s: %w", call, err)
		}
		f.Body = raw
	}
	reply := make(chan frame, 1)
	p.mu.Lock()
	p.next++
	f.ID = p.next
	p.pending[f.ID] = reply
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pending, f.ID)
		p.mu.Unlock()
	}()
	line, err := encode(f)
	if err != nil {
		return fmt.Errorf("protocol: %s: %w", call, err)
	}
	p.unsent.Add(1)
	select {
	case p.out <- line:
	case <-p.done:
		p.unsent.Add(-1)
		return p.down(call)
	case <-ctx.Done():
		p.unsent.Add(-1)
		return fmt.Errorf("protocol: %s: %w", call, context.Cause(ctx))
	}
	select {
	case r := <-reply:
		return settle(call, r, out)
	case <-p.done:
		select { // the reply may have come just before the end
		case r := <-reply:
			return settle(call, r, out)
		default:
			return p.down(call)
		}
	case <-ctx.Done():
		return fmt.Errorf("protocol: %s: %w", call, context.Cause(ctx))
	}
}

func settle(call string, r frame, out any) error {
	if r.Error != nil {
		return r.Error
	}
	if out == nil {
		return nil
	}
	if err := decodeStrict(r.Body, out); err != nil {
		return fmt.Errorf("protocol: reply to %s: %w", call, err)
	}
	return nil
}

func (p *Peer) down(call string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return fmt.Errorf("%s: %w: %w", call, ErrClosed, p.err)
	}
	return fmt.Errorf("%s: %w", call, ErrClosed)
}

func (p *Peer) writeLoop() {
	for {
		select {
		case line := <-p.out:
			_, err := p.w.Write(line)
			p.unsent.Add(-1)
			if err != nil {
				return // the reader sees the end of the link on its own
			}
		case <-p.done:
			p.drain()
			return
		}
	}
}

// drain writes what was queued when the link's reading side ended, so that a
// last reply is not lost.
func (p *Peer) drain() {
	for {
		select {
		case line := <-p.out:
			_, err := p.w.Write(line)
			p.unsent.Add(-1)
			if err != nil {
				return
			}
		default:
			return
		}
	}
}

func encode(f frame) ([]byte, error) {
	line, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	if len(line) >= MaxLine {
		return nil, fmt.Errorf("message of %d bytes, want less than %d", len(line), MaxLine)
	}
	return append(line, '\n'), nil
}

// Decode reads a call's body, refusing fields it does not know.
func Decode(body json.RawMessage, into any) error {
	if err := decodeStrict(body, into); err != nil {
		return Errorf(CodeBad, "protocol: %v", err)
	}
	return nil
}

func decodeStrict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}

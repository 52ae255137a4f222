package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/protocol"
)

// apply injects one fault:
//
//	admit ─▶ claim, look, refuse ─▶ intent on disk ─▶ still open? ─▶ harm, verify ─▶ arm the TTL
//
// From the admission on the fault is among those that an undo of everything
// takes back; that one waits for the end of this.
func (a *agent) apply(ctx context.Context, in protocol.Apply) (protocol.Applied, error) {
	var none protocol.Applied
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.applying, func() { cancel(context.Cause(a.applying)) })()

	c, err := a.admit(in)
	if err != nil {
		return none, err
	}
	ended := func() { // whatever happens, nobody waits for this apply for good
		select {
		case <-c.applied:
		default:
			close(c.applied)
		}
	}
	defer ended()
	if c.free, err = a.claims.take(in.Kind, in.Target); err != nil {
		a.drop(c)
		return none, err
	}
	if err := a.prepare(ctx, c, in); err != nil {
		a.drop(c)
		return none, err
	}
	if err := a.widen(c); err != nil {
		a.drop(c)
		return none, err
	}
	failpoint.Hit("before-intent")
	if err := a.book.Intent(c.Intent); err != nil {
		a.drop(c)
		return none, err
	}
	failpoint.Hit("after-intent")
	if !a.isOpen() { // from here on the harm may have been done
		c.past.Settled = true // it never began
		ended()
		a.mender.takeBack(c, "never applied")
		return none, errClosed()
	}
	if err := a.crowd(in); err != nil && a.claims != nil { // again: another run may have come at the same moment
		c.past.Settled = true
		ended()
		a.mender.takeBack(c, "never applied")
		return none, err
	}
	if err = harm(ctx, c.world(a.mender.world), c); err == nil {
		failpoint.Hit("after-apply")
		c.past.Settled = true
		_ = a.book.Applied(c.ID) // without it an undo only waits a little longer
	}
	failpoint.Hit("after-applied")
	now := time.Now()
	if errors.Is(err, fault.ErrNotBegun) {
		c.past.Settled = true
	}
	ended()
	if err != nil {
		return none, a.failed(c, err)
	}
	if a.applying.Err() != nil {
		return none, errClosed() // and being undone
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.out.Load() {
		c.ttl = setAlarm(in.TTL, func() { a.expire(c) })
		a.listen(c)
	}
	return protocol.Applied{Intent: c.At, Applied: now, Findings: c.findings()}, nil
}

// admit gives a fault its place while the epoch is open.
func (a *agent) admit(in protocol.Apply) (*charge, error) {
	if a.book == nil {
		return nil, protocol.Errorf(protocol.CodeRefused, "agent: %s: this agent only looks", in.Kind)
	}
	if in.ID == "" || len(in.ID) > 64 || in.TTL <= 0 {
		return nil, protocol.Errorf(protocol.CodeBad, "agent: %s: got id %q and ttl %v, want a short id and a ttl above 0", in.Kind, in.ID, in.TTL)
	}
	f, err := fault.New(in.Kind, in.Params)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeBad, "%v", err)
	}
	c := &charge{
		Intent: ledger.Intent{ID: in.ID, Kind: in.Kind, Target: in.Target, TTL: in.TTL},
		fault:  f, book: a.book, applied: make(chan struct{}),
		tell: func(text string) { a.peer.Notify(protocol.EventTold, protocol.Told{ID: in.ID, Text: text}) },
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch != open {
		return nil, errClosed()
	}
	if slices.ContainsFunc(a.charges, func(o *charge) bool { return o.ID == in.ID }) {
		return nil, protocol.Errorf(protocol.CodeBad, "agent: %s: got id %q, want one that is new in this run", in.Kind, in.ID)
	}
	a.charges = append(a.charges, c)
	return c, nil
}

// drop takes a place back: nothing was touched.
func (a *agent) drop(c *charge) {
	c.out.Store(true)
	if c.free != nil {
		c.free()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.charges = slices.DeleteFunc(a.charges, func(o *charge) bool { return o == c })
}

func (a *agent) isOpen() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.epoch == open
}

// prepare looks at the target and fills in the intent.
func (a *agent) prepare(ctx context.Context, c *charge, in protocol.Apply) error {
	words, err := a.look(ctx, c.fault, in)
	if err != nil {
		return err
	}
	whole, err := json.Marshal(c.fault)
	if err != nil {
		return fmt.Errorf("agent: %s: %w", in.Kind, err)
	}
	c.Fault, c.At = whole, time.Now()
	c.Harm, c.Remedy, c.Mend = words.Harm, words.Remedy, c.fault.Mend()
	return nil
}

func (a *agent) look(ctx context.Context, f fault.Fault, in protocol.Apply) (fault.Words, error) {
	if err := a.finder.permit(ctx, in.Kind, in.Target); err != nil {
		return fault.Words{}, err
	}
	if err := a.obey(in); err != nil {
		return fault.Words{}, err
	}
	world := a.mender.world
	world.Radius = in.Radius
	if err := f.Prepare(ctx, world, in.Target); err != nil {
		if errors.Is(err, fault.ErrRefused) {
			return fault.Words{}, protocol.Errorf(protocol.CodeRefused, "%s: %v", in.Kind, err)
		}
		if a.applying.Err() != nil {
			return fault.Words{}, errClosed()
		}
		return fault.Words{}, fmt.Errorf("%s: %w", in.Kind, a.engine.away(err))
	}
	if w, wide := f.(fault.Wide); wide {
		if err := a.finder.spare(ctx, in.Kind, w.Beside()); err != nil {
			return fault.Words{}, err
		}
	}
	return f.Describe(), nil
}

func (a *agent) describe(ctx context.Context, in protocol.Apply) (protocol.Described, error) {
	f, err := fault.New(in.Kind, in.Params)
	if err != nil {
		return protocol.Described{}, protocol.Errorf(protocol.CodeBad, "%v", err)
	}
	if err := a.claims.look(in.Kind, in.Target); err != nil {
		return protocol.Described{}, err
	}
	words, err := a.look(ctx, f, in)
	space := ""
	if w, wide := f.(fault.Wide); wide && err == nil {
		space = w.Space().ID
		err = a.claims.look(in.Kind, w.Space())
	}
	if err != nil {
		return protocol.Described{}, err
	}
	return protocol.Described{Harm: words.Harm, Remedy: words.Remedy, Held: words.Held, Warning: words.Warning, Space: space}, nil
}

// harm applies; a panic is an error like any other, and what it left is undone.
func harm(ctx context.Context, w fault.World, c *charge) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.fault.Apply(ctx, w)
}

// failed takes a half-applied fault back and says both.
func (a *agent) failed(c *charge, err error) error {
	r := a.mender.takeBack(c, "apply failed")
	if a.applying.Err() != nil {
		return errClosed()
	}
	if r.Error != "" {
		return fmt.Errorf("%s: %w; and what there was of it is stuck: %s; mend it with: %s", c.Kind, a.engine.away(err), r.Error, r.Mend)
	}
	return fmt.Errorf("%s: %w; what there was of it is undone", c.Kind, a.engine.away(err))
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/protocol"
)

const (
	patience   = 30 * time.Second // for one undo, once the engine takes its call
	heavyCalls = 8                // of ours that the engine handles at once
)

// book is the part of a ledger that an undo writes. Its errors do not stop an
// undo: what is not written is at worst undone again.
type book interface {
	Undoing(id string) error
	Undone(protocol.UndoResult) error
}

// A charge is one fault that must come out again.
type charge struct {
	ledger.Intent
	fault  fault.Fault
	broken error // why there is no fault: its record was written by another version
	book   book
	free   func()       // gives its target back; nil: there is nothing to give
	tell   func(string) // of the fault's remarks; nil: nobody listens

	applied chan struct{} // closed once Apply has returned, or never will be called

	mu   sync.Mutex // of one undo at a time
	past fault.Past
	last protocol.UndoResult // of its last undo
	ttl  *alarm

	out atomic.Bool // it is out, or was never in
}

// A mender takes charges back.
type mender struct {
	world    fault.World
	patience time.Duration
	turns    chan struct{}
}

func newMender(e fault.Engine, atMost time.Duration) *mender {
	if atMost <= 0 {
		atMost = patience
	}
	return &mender{world: fault.World{Engine: e, Wires: fault.NewWires()}, patience: atMost, turns: make(chan struct{}, heavyCalls)}
}

// takeBack undoes one fault, after its Apply has ended. A fault that is out
// already stays so.
func (m *mender) takeBack(c *charge, reason string) protocol.UndoResult {
	<-c.applied
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.Load() {
		return c.last
	}
	r := protocol.UndoResult{ID: c.ID, Kind: c.Kind, Target: c.Target, Reason: reason, Began: time.Now()}
	failpoint.Hit("before-undo")
	_ = c.book.Undoing(c.ID)
	failpoint.Hit("after-undoing")
	if c.broken == nil {
		m.insist(c, &r)
	} else {
		r.Error = c.broken.Error()
	}
	failpoint.Hit("after-undo")
	r.Ended, r.Findings = time.Now(), c.findings()
	if r.Error != "" {
		r.Mend = c.Mend
	} else {
		c.out.Store(true)
		c.ttl.stop()
	}
	c.last = r
	_ = c.book.Undone(r)
	failpoint.Hit("after-undone")
	if c.out.Load() && c.free != nil {
		c.free()
	}
	return r
}

// insist tries until the fault is out or its deadline has passed. The deadline
// is the undo's own, whatever ended the run, and stands still while the engine
// is busy with others of our calls.
func (m *mender) insist(c *charge, r *protocol.UndoResult) {
	atMost := m.patience
	if s, ok := c.fault.(interface{ Slow() time.Duration }); ok {
		atMost += s.Slow()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	limit := time.AfterFunc(atMost, func() { cancel(context.DeadlineExceeded) })
	defer limit.Stop()
	world := c.world(m.world)
	var first sync.Once
	world.Turn = func(ctx context.Context) (func(), error) {
		held := false
		first.Do(func() { held = limit.Stop() })
		select {
		case m.turns <- struct{}{}:
			if held {
				limit.Reset(atMost)
			}
			return func() { <-m.turns }, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	var last error
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		r.Attempts++
		note, err := attempt(ctx, world, c)
		if err == nil {
			r.Note = note
			return
		}
		c.past.Again = true
		cut := ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
		if last == nil || !cut { // else the deadline says less than what came before
			last = err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			r.Error = fmt.Sprintf("not undone within %v: %v", atMost, last)
			return
		}
	}
}

// attempt tries once. A panic in one undo must not keep the others in.
func attempt(ctx context.Context, w fault.World, c *charge) (note string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in the undo: %v\n%s", p, debug.Stack())
		}
	}()
	return c.fault.Undo(ctx, w, c.past)
}

// each undoes charges, which are in the order of their intents: those of
// different containers at once, those of one container last first. It goes on
// past those that are stuck.
func (m *mender) each(charges []*charge, reason string, done func(protocol.UndoResult)) []protocol.UndoResult {
	byContainer := map[string][]int{}
	for i, c := range charges {
		byContainer[c.Target.ID] = append(byContainer[c.Target.ID], i)
	}
	results := make([]protocol.UndoResult, len(charges))
	var all sync.WaitGroup
	for _, of := range byContainer {
		all.Go(func() {
			for n := len(of) - 1; n >= 0; n-- {
				results[of[n]] = m.takeBack(charges[of[n]], reason)
				if done != nil && results[of[n]].Reason != "" { // else it never was in
					done(results[of[n]])
				}
			}
		})
	}
	all.Wait()
	return results
}

// newCharge makes a charge of what a ledger says of a fault of another process.
func newCharge(f ledger.Fault, b book) *charge {
	c := &charge{
		Intent: f.Intent, book: b, applied: make(chan struct{}),
		past: fault.Past{Settled: f.Applied, Again: f.Undoing},
	}
	close(c.applied)
	c.fault, c.broken = fault.Load(f.Intent.Kind, f.Intent.Fault)
	return c
}

package agent

import (
	"slices"

	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/protocol"
)

// undoAll ends the epoch and takes everything back. The first call cancels the
// applies in flight and latches; those that come meanwhile wait for it. With
// again, a call after the end tries once more what is stuck.
func (a *agent) undoAll(reason string, again bool) []protocol.UndoResult {
	a.mu.Lock()
	before := a.epoch
	if before == fresh || before == open {
		a.epoch = undoing
	}
	a.mu.Unlock()
	switch before {
	case undoing:
		<-a.undone
		return a.all()
	case closed:
		if again && a.stuck() {
			a.takeAllBack(reason)
		}
		return a.all()
	}
	a.cut(errClosed())
	a.heart.stop()
	a.peer.Notify(protocol.EventEpoch, protocol.Epoch{State: undoing, Reason: reason})
	failpoint.Hit("after-latch")
	a.takeAllBack(reason)
	a.mu.Lock()
	a.epoch = closed
	lock := a.lock
	a.lock = nil
	a.mu.Unlock()
	if a.book != nil {
		_ = a.book.Closed(reason) // a reader that misses it sees that nothing is in
	}
	failpoint.Hit("before-release")
	_ = lock.Release() // the file is closed in any case
	failpoint.Hit("after-closed")
	close(a.undone)
	a.peer.Notify(protocol.EventEpoch, protocol.Epoch{State: closed, Reason: reason})
	return a.all()
}

func (a *agent) takeAllBack(reason string) {
	a.sweep.Lock()
	defer a.sweep.Unlock()
	a.mu.Lock()
	charges := slices.Clone(a.charges)
	a.mu.Unlock()
	charges = slices.DeleteFunc(charges, func(c *charge) bool { return c.out.Load() })
	if a.mender == nil { // no hello, no harm
		return
	}
	for _, r := range a.mender.each(charges, reason, a.tell) {
		a.learn(r)
	}
}

func (a *agent) learn(r protocol.UndoResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.results[r.ID] = r
}

// tell sends what became of a fault. It does not wait for a reader.
func (a *agent) tell(r protocol.UndoResult) { a.peer.Notify(protocol.EventUndone, r) }

// all is what became of every fault of the undo of everything.
func (a *agent) all() []protocol.UndoResult {
	a.mu.Lock()
	defer a.mu.Unlock()
	var results []protocol.UndoResult
	for _, c := range a.charges {
		if r, swept := a.results[c.ID]; swept {
			results = append(results, r)
		}
	}
	return results
}

// undo takes some faults back, last first. To undo one again is no error.
func (a *agent) undo(in protocol.Undo) (protocol.Undone, error) {
	a.mu.Lock()
	var charges []*charge
	known := map[string]bool{}
	for _, c := range a.charges {
		known[c.ID] = true
		if slices.Contains(in.IDs, c.ID) {
			charges = append(charges, c)
		}
	}
	a.mu.Unlock()
	for _, id := range in.IDs {
		if !known[id] {
			return protocol.Undone{}, protocol.Errorf(protocol.CodeBad, "agent: undo: there is no fault %q", id)
		}
	}
	results := a.mender.each(charges, in.Reason, nil)
	if !a.isOpen() {
		for _, r := range results { // of what was stuck, the news
			a.learn(r)
		}
	}
	return protocol.Undone{Results: results}, nil
}

// expire takes a fault back by itself, since its time has passed.
func (a *agent) expire(c *charge) {
	if !c.out.Load() {
		a.tell(a.mender.takeBack(c, "ttl"))
	}
}

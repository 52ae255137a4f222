package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/protocol"
)

// world is the world as the charge's fault sees it: its remarks bear its name.
func (c *charge) world(w fault.World) fault.World {
	w.Tell = c.tell
	return w
}

// findings are the fault's measurements since it was last asked.
func (c *charge) findings() []fault.Finding {
	if w, ok := c.fault.(fault.Witness); ok {
		return w.Findings()
	}
	return nil
}

// listen tells the supervisor when the fault stops acting by itself.
func (a *agent) listen(c *charge) {
	f, fragile := c.fault.(fault.Fragile)
	if !fragile {
		return
	}
	lost := f.Lost()
	go func() {
		err, open := <-lost
		if open {
			a.peer.Notify(protocol.EventLost, protocol.Lost{ID: c.ID, Kind: c.Kind, Target: c.Target, Error: err.Error()})
		}
	}()
}

// update changes a fault that is in. Its undo is on disk already, and stays
// what it is: a kind whose undo would change cannot be updated.
func (a *agent) update(ctx context.Context, in protocol.Update) (protocol.Updated, error) {
	var none protocol.Updated
	a.mu.Lock()
	i := slices.IndexFunc(a.charges, func(c *charge) bool { return c.ID == in.ID })
	if i < 0 {
		a.mu.Unlock()
		return none, protocol.Errorf(protocol.CodeBad, "agent: update: there is no fault %q", in.ID)
	}
	c, state := a.charges[i], a.epoch
	a.mu.Unlock()
	f, ok := c.fault.(fault.Updater)
	switch {
	case state != open:
		return none, errClosed()
	case !ok:
		return none, protocol.Errorf(protocol.CodeRefused, "%s: it cannot be changed while it is in: undo it and inject another", c.Kind)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.applying, func() { cancel(context.Cause(a.applying)) })()
	<-c.applied
	c.mu.Lock() // an undo waits for the change, and no change comes after it
	defer c.mu.Unlock()
	if c.out.Load() {
		return none, protocol.Errorf(protocol.CodeRefused, "%s: it is undone already", c.Kind)
	}
	err := change(ctx, f, c.world(a.mender.world), in)
	switch {
	case errors.Is(err, fault.ErrRefused):
		return none, protocol.Errorf(protocol.CodeRefused, "%s: %v", c.Kind, err)
	case err != nil:
		return none, fmt.Errorf("%s: update: %w", c.Kind, err)
	}
	return protocol.Updated{Findings: c.findings()}, nil
}

func change(ctx context.Context, f fault.Updater, w fault.World, in protocol.Update) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f.Update(ctx, w, in.Params)
}

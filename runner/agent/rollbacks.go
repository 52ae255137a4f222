package agent

import (
	"encoding/json"

	"chaosrunner/runner/protocol"
)

// The states of a script's rollback. Each is on disk before it is answered:
//
//	kept ─▶ waiting ─▶ running ─▶ ran
//
// One that waits has certainly not run. One that was running when its run died
// is run again, and whoever does so is told.
const (
	waiting = "waiting"
	rolls   = "running"
	ran     = "ran"
)

// keep puts a script's rollback on disk, before it may be needed.
func (a *agent) keep(in protocol.Rollback, raw json.RawMessage) error {
	if a.book == nil {
		return protocol.Errorf(protocol.CodeRefused, "agent: rollback %s: this agent only looks", in.ID)
	}
	a.scripts.Lock() // so that who asks for it later finds it kept, or not there
	defer a.scripts.Unlock()
	switch {
	case !a.isOpen():
		return errClosed()
	case in.ID == "" || a.rollback(in.ID) != "":
		return protocol.Errorf(protocol.CodeBad, "agent: got rollback id %q, want one that is new in this run", in.ID)
	}
	if err := a.book.Rollback(raw); err != nil {
		return err
	}
	a.setRollback(in.ID, waiting)
	return nil
}

// rolling records that a script's rollback begins, of this run or of a dead one.
func (a *agent) rolling(in protocol.Rolled) error {
	return a.note(in, rolls, func(b scriptBook) error { return b.Rolling(in.ID) })
}

// rolled records that a script's rollback has run, in this run's ledger or in
// that of a dead one.
func (a *agent) rolled(in protocol.Rolled) error {
	return a.note(in, ran, func(b scriptBook) error { return b.Rolled(in.ID, in.Error) })
}

// scriptBook is the part of a ledger that script rollbacks write.
type scriptBook interface {
	Rolling(id string) error
	Rolled(id, failure string) error
}

func (a *agent) note(in protocol.Rolled, state string, write func(scriptBook) error) error {
	a.scripts.Lock()
	defer a.scripts.Unlock()
	if was := a.rollback(in.ID); a.book != nil && (in.Run == "" || in.Run == a.run) && was != "" && was != ran {
		if err := write(a.book); err != nil {
			return err
		}
		a.setRollback(in.ID, state)
		return nil
	}
	a.mu.Lock()
	left := a.left
	a.mu.Unlock()
	for _, d := range left {
		if d.pending(in.ID) && (in.Run == d.run() || in.Run == "") {
			return write(d)
		}
	}
	return protocol.Errorf(protocol.CodeBad, "agent: rollback %q is not waited for", in.ID)
}

func (a *agent) rollback(id string) (state string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rollbacks[id]
}

func (a *agent) setRollback(id, state string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rollbacks[id] = state
}

// Rolling records that one of a dead run's script rollbacks begins.
func (d *dead) Rolling(id string) error { return d.book.Rolling(id) }

// Rolled records that one of them has run.
func (d *dead) Rolled(id, failure string) error {
	if err := d.book.Rolled(id, failure); err != nil {
		return err
	}
	d.contents.Rolled(id)
	return nil
}

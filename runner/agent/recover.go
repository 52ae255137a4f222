package agent

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/protocol"
)

// A dead is the ledger of an agent that has died, whose flock is ours.
type dead struct {
	book     *ledger.Ledger
	contents ledger.Contents
	results  []protocol.UndoResult
	stuck    bool
}

// recover undoes what dead runs left, under their ledgers' flocks, the newest
// first. Ledgers of which nothing is left stay until their runs' ends are written;
// those with something stuck, until that is out.
func (a *agent) recover(dir, only string) ([]protocol.Abandoned, error) {
	paths, err := ledger.List(dir)
	if err != nil {
		return nil, err
	}
	var all []protocol.Abandoned
	for _, path := range paths {
		if only != "" && filepath.Base(path) != only+".ledger" {
			continue
		}
		if a.book != nil && path == a.book.Path() {
			continue
		}
		d, err := a.takeOver(path)
		if protocol.CodeOf(err) == protocol.CodeBusy {
			return all, err
		}
		if errors.Is(err, ledger.ErrAlive) && only != "" {
			return all, protocol.Errorf(protocol.CodeBusy, "agent: run %s is alive: end it with `runner stop %s`", only, only)
		}
		if errors.Is(err, ledger.ErrAlive) || errors.Is(err, fs.ErrNotExist) {
			continue // not dead; or somebody else has just settled it
		}
		if err != nil {
			all = append(all, protocol.Abandoned{Run: filepath.Base(path), Damaged: err.Error()})
			continue
		}
		failpoint.Hit("before-settle")
		told := d.abandoned()
		if kept := a.settle(d); kept != "" {
			told.Damaged += "; what is left of it is kept in " + kept
		}
		all = append(all, told)
	}
	return all, nil
}

// patienceWithOthers is how long a run waits for the undo of another's faults by
// another process.
const patienceWithOthers = time.Minute

// takeOver is openDead, but a run that has the engine for itself waits for whoever
// is undoing what is in: that is an heir, a recover or a stop, and what it is about
// to take back the new run may be about to harm.
func (a *agent) takeOver(path string) (*dead, error) {
	for until := time.Now().Add(patienceWithOthers); ; time.Sleep(50 * time.Millisecond) {
		d, err := openDead(path, a.mender)
		if a.book == nil || a.claims != nil || !errors.Is(err, ledger.ErrAlive) {
			return d, err
		}
		switch c, alive, _ := ledger.Read(path); {
		case alive && len(c.In()) == 0:
			return nil, err // it is only being closed, or kept for its rollbacks
		case time.Now().After(until):
			return nil, protocol.Errorf(protocol.CodeBusy, "agent: another process has been undoing what %s has injected for %v: "+
				"see `runner status`, or end it with `runner stop`", filepath.Base(path), patienceWithOthers)
		}
	}
}

// openDead takes a dead agent's ledger and undoes what is in it.
func openDead(path string, m *mender) (*dead, error) {
	book, contents, err := ledger.Open(path)
	if err != nil {
		return nil, err
	}
	d := &dead{book: book, contents: contents}
	var charges []*charge
	for _, f := range contents.Faults {
		if !f.Undone {
			charges = append(charges, newCharge(f, book))
		} else if f.Result != nil {
			d.results = append(d.results, *f.Result)
		}
	}
	for _, r := range m.each(charges, "recover", nil) {
		d.results = append(d.results, r)
		d.stuck = d.stuck || r.Error != ""
	}
	return d, nil
}

// settle keeps the ledger for its rollbacks and for its run's end, or lets it
// go. It returns where a damaged one is kept for people.
func (a *agent) settle(d *dead) (kept string) {
	if len(d.contents.Rollbacks) > 0 {
		_ = d.book.Reported()
	}
	switch {
	case len(d.contents.Rollbacks) > 0 || !d.stuck && d.contents.Damage == "":
		a.mu.Lock()
		a.left = append(a.left, d)
		a.mu.Unlock()
	case d.stuck:
		_ = d.book.Reported()
		_ = d.book.Close() // nothing of it waits to be written
	default:
		kept, _ = d.book.SetAside() // if not, it is reported again
	}
	return kept
}

// settled removes the ledger of a dead run whose end is written, if nothing is
// left of it: whoever dies before that leaves it to the next start.
func (a *agent) settled(in protocol.Settled) (err error) {
	a.scripts.Lock()
	defer a.scripts.Unlock()
	a.mu.Lock()
	left := a.left
	a.mu.Unlock()
	for _, d := range left {
		if d.run() == in.Run && len(d.contents.Rollbacks) == 0 && !d.stuck && d.contents.Damage == "" {
			failpoint.Hit("before-remove-dead")
			err = errors.Join(err, d.book.Remove())
		}
	}
	return err
}

func (d *dead) run() string { return d.contents.Header.Run }

func (d *dead) pending(id string) bool { return d.contents.Pending(id) }

func (d *dead) abandoned() protocol.Abandoned {
	return protocol.Abandoned{
		Run: d.run(), Header: d.contents.Header.Experiment, Results: d.results,
		Rollbacks: d.contents.Rollbacks, Begun: d.contents.Begun, Damaged: d.contents.Damage, Again: d.contents.Reported,
	}
}

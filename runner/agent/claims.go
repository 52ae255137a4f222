package agent

import (
	"errors"
	"io/fs"
	"sync"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/protocol"
)

// Claims are the targets that a run has which shares its engine with others:
// each from the admission of its first fault to the end of the last one's undo.
// Nil is a run that has the engine for itself, and with it every target.
type claims struct {
	dir    string
	own    string // our ledger's path
	holder ledger.Holder

	mu  sync.Mutex
	has map[string]*claim // by target id
}

type claim struct {
	lock   *ledger.Lock
	faults int
}

func newClaims(dir, own string, h ledger.Holder) *claims {
	return &claims{dir: dir, own: own, holder: h, has: map[string]*claim{}}
}

// take claims a target for one fault, or refuses it, naming the run that has it.
func (k *claims) take(kind string, t fault.Target) (free func(), err error) {
	if k == nil {
		return func() {}, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.has[t.ID]
	if c == nil {
		lock, err := ledger.TakeTarget(k.dir, t.ID, t.Noun(), k.holder)
		var busy *ledger.BusyError
		if errors.As(err, &busy) {
			return nil, protocol.Errorf(protocol.CodeRefused, "%s: %v", kind, busy)
		}
		if err != nil {
			return nil, err
		}
		if err := k.leftover(kind, t); err != nil {
			return nil, errors.Join(err, lock.Release())
		}
		c = &claim{lock: lock}
		k.has[t.ID] = c
	}
	c.faults++
	var once sync.Once
	return func() { once.Do(func() { k.free(t.ID) }) }, nil
}

// widen claims what a fault harms beyond its container, for as long as that.
func (a *agent) widen(c *charge) error {
	w, wide := c.fault.(fault.Wide)
	if !wide {
		return nil
	}
	space, err := a.claims.take(c.Kind, w.Space())
	if err != nil {
		return err
	}
	own := c.free
	c.free = func() { space(); own() }
	return nil
}

func (k *claims) free(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.has[id]
	if c.faults--; c.faults == 0 {
		delete(k.has, id)
		_ = c.lock.Release() // the file is closed in any case
	}
}

// leftover refuses a target on which another run still has a fault. Since its
// lock is ours that run is dead, or could not take the fault back: its undo
// must come before any harm of ours.
func (k *claims) leftover(kind string, t fault.Target) error {
	return k.beside(func(c ledger.Contents) error {
		for _, f := range c.In() {
			if f.Intent.Target.ID == t.ID {
				return protocol.Errorf(protocol.CodeRefused, "%s: %s still has the %s of run %s on it, which has let it go: "+
					"run `runner recover` first", kind, t.Noun(), f.Intent.Kind, c.Header.Run)
			}
		}
		return nil
	})
}

// look says whether a fault on the target would be let in now.
func (k *claims) look(kind string, t fault.Target) error {
	free, err := k.take(kind, t)
	if err == nil {
		free()
	}
	return err
}

// others are the targets that other runs on the engine harm now.
func (k *claims) others() (ids []string, err error) {
	if k == nil {
		return nil, nil
	}
	return ids, k.beside(func(c ledger.Contents) error {
		for _, f := range c.In() {
			ids = append(ids, f.Intent.Target.ID)
		}
		return nil
	})
}

// beside reads every ledger but ours.
func (k *claims) beside(each func(ledger.Contents) error) error {
	paths, err := ledger.List(k.dir)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if path == k.own {
			continue
		}
		c, _, err := ledger.Read(path)
		if err == nil {
			err = each(c)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // else it has just ended
			return err
		}
	}
	return nil
}

package builtins

import (
	"errors"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// rehearse runs the method, and then each rollback it registered, where
// nothing happens.
func (s *Session) rehearse(method *starlark.Function) ([]spec.Step, []protocol.ScriptError) {
	r := &rehearsal{World: s.world, session: s, engine: s.cfg.Mode != protocol.CheckOnly, steps: []spec.Step{}}
	thread := s.enter(acting, r)
	err := safely(func() error {
		_, err := starlark.Call(thread, method, nil, nil)
		return err
	})
	if err != nil {
		// The rest of the method was not reached: what is said about the
		// faults' lengths would be wrong.
		return r.steps, s.explain(err)
	}
	found := r.lengths(s.declared.experiment.BlastRadius)
	r.silent = true
	for i := len(r.rolls) - 1; i >= 0; i-- {
		one := r.rolls[i]
		ended := s.roll(r, protocol.Roll{ID: one.ID, Module: one.Module, Func: one.Func, Args: one.Args})
		if ended.Error != nil {
			found = append(found, *ended.Error)
		}
	}
	return r.steps, found
}

// errNoTime is what a fault without a length is told.
var errNoTime = errors.New("lasts no time: it would be undone as soon as it is in place")

// lengths holds the faults against the cap of the blast radius, and refuses
// those that would be undone as soon as they are in place.
func (r *rehearsal) lengths(radius spec.BlastRadius) (found []protocol.ScriptError) {
	first, last := time.Duration(-1), time.Duration(0)
	for _, p := range r.faults {
		to := p.to
		if to < 0 {
			to = r.now // the end of method()
		}
		if first < 0 {
			first = p.from
		}
		last = max(last, to)
		if to == p.from && p.fault.Kind != "exec" { // whose program has run by then
			e := p.at.errorf("%s: %v", p.fault.Kind, errNoTime)
			e.Hint = `give it a duration, as duration = "30s", or observe("30s") after it`
			found = append(found, e)
		}
	}
	if len(found) > 0 || first < 0 || radius.Duration == 0 || last-first < radius.Duration {
		return found
	}
	e := r.faults[0].at.errorf("method: got faults for %s from the first to the last, want less than the %s of blast_radius: putting things back takes time too",
		last-first, radius.Duration)
	if radius.Pos != "" {
		e.Hint = "blast_radius stands at " + string(radius.Pos)
	}
	return append(found, e)
}

package builtins

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// invariant(name, fn, *, equals = None, min = None, max = None, within = "30s", before = None)
func invariant(s *Session, c *call) (starlark.Value, error) {
	var (
		name        notation.Name
		fn, before  starlark.Value
		equals      notation.Objective
		least, most notation.Objective
		within      notation.Duration
	)
	if err := c.unpack(&name, &fn, &equals, &least, &most, &within, &before); err != nil {
		return nil, err
	}
	out := spec.Invariant{Name: string(name), Within: time.Duration(within), Pos: c.at().pos}
	switch {
	case equals.Set && (least.Set || most.Set):
		return nil, fmt.Errorf("got equals and %s, want equals alone, or min, max or both", map[bool]string{true: "min", false: "max"}[least.Set])
	case equals.Set:
		out.Min, out.Max = &equals.Value, &equals.Value
	case !least.Set && !most.Set:
		return nil, fmt.Errorf("got none of equals, min and max, want what the number must be")
	}
	if least.Set {
		out.Min = &least.Value
	}
	if most.Set {
		out.Max = &most.Value
	}
	if least.Set && most.Set && least.Value > most.Value {
		return nil, fmt.Errorf("got min %g above max %g", least.Value, most.Value)
	}
	var err error
	params := 0
	if before != nil {
		params = 1
		if out.Before, err = s.checkable(c, "before", before, 0); err != nil {
			return nil, err
		}
	}
	if out.Func, err = s.checkable(c, "fn", fn, params); err != nil {
		return nil, err
	}
	if err := s.declared.name(c, string(name)); err != nil {
		return nil, err
	}
	s.declared.experiment.Invariants = append(s.declared.experiment.Invariants, out)
	return starlark.None, nil
}

// checkable names a function so that another process finds it by that. While
// its file still loads it is no global yet: unreachable looks, once all is.
func (s *Session) checkable(c *call, param string, v starlark.Value, params int) (spec.Func, error) {
	fn, ok := v.(*starlark.Function)
	if !ok {
		return spec.Func{}, fmt.Errorf("%s: got %s, want a function of the script", param, notation.Got(v))
	}
	if fn.NumParams() != params || fn.HasVarargs() || fn.HasKwargs() {
		what := "none"
		if params == 1 {
			what = "one: what before returned"
		}
		return spec.Func{}, fmt.Errorf("%s: got a function of %d parameters, want %s", param, fn.NumParams(), what)
	}
	m := s.library.names[fn.Position().Filename()]
	if m == nil {
		return spec.Func{}, fmt.Errorf("%s: got %s, which cannot be found again by its name", param, notation.Clean(fn.Name(), 80))
	}
	s.declared.checks = append(s.declared.checks, check{fn: fn, param: param, at: c.at()})
	return spec.Func{Module: m.id, Name: fn.Name()}, nil
}

// check is a function that invariant() was given.
type check struct {
	fn    *starlark.Function
	param string
	at    place
}

// unreachable tells of functions that no other process will find.
func (s *Session) unreachable() (found []protocol.ScriptError) {
	for _, c := range s.declared.checks {
		if _, _, err := s.topLevel(c.fn); err != nil {
			found = append(found, c.at.errorf("invariant: %s: got %s, want a def at the top level of a file: another process must find it", c.param, notation.Clean(c.fn.Name(), 80)))
		}
	}
	return found
}

// tryInvariants rehearses each invariant: its number must be one.
func (s *Session) tryInvariants(r *rehearsal) (found []protocol.ScriptError) {
	r.silent = true
	for _, inv := range s.declared.experiment.Invariants {
		args := starlark.Tuple{}
		if inv.Before.Name != "" {
			v, _, ended := s.evaluate(r, protocol.Check{Module: inv.Before.Module, Func: inv.Before.Name, Any: true}, nil)
			if ended.Error != nil { // a false expect is no error: stand-ins meet no expectation
				found = append(found, *ended.Error)
			}
			if v == nil {
				continue
			}
			args = starlark.Tuple{v}
		}
		_, _, ended := s.evaluate(r, protocol.Check{Module: inv.Func.Module, Func: inv.Func.Name}, args)
		if ended.Error != nil {
			found = append(found, *ended.Error)
		}
	}
	return found
}

// Check runs one function of an invariant. A worker is loaded for that alone.
func (s *Session) Check(in protocol.Check) protocol.Checked {
	args := starlark.Tuple{}
	if len(in.Args) > 0 {
		v, err := s.fromJSON(in.Args)
		list, ok := v.(*starlark.List)
		if err != nil || !ok {
			e := place{}.errorf("invariant: got arguments that are no list: %v", err)
			return protocol.Checked{Ended: protocol.Ended{Error: &e}}
		}
		for x := range list.Elements() {
			args = append(args, x)
		}
	}
	_, raw, ended := s.evaluate(s.world, in, args)
	return protocol.Checked{Value: raw, Ended: ended}
}

// evaluate calls the function on a fresh thread.
func (s *Session) evaluate(world World, in protocol.Check, args starlark.Tuple) (v starlark.Value, raw json.RawMessage, ended protocol.Ended) {
	thread := s.enter(checking, world)
	m := s.library.modules[in.Module]
	if m == nil || !m.done || m.err != nil {
		e := place{}.errorf("invariant: there is no file %q", in.Module)
		return nil, nil, protocol.Ended{Error: &e}
	}
	fn, ok := m.globals[in.Func].(*starlark.Function)
	if !ok {
		e := place{}.errorf("invariant: there is no function %s in %s", in.Func, m.name)
		return nil, nil, protocol.Ended{Error: &e}
	}
	err := safely(func() (err error) {
		v, err = starlark.Call(thread, fn, args, nil)
		return err
	})
	if err != nil {
		return nil, nil, s.ended(err)
	}
	if !in.Any {
		err = numeric(v)
	}
	if err == nil {
		raw, err = toJSON(v)
	}
	if err != nil {
		e := place{pos: spec.Pos(fn.Position().String())}.errorf("invariant: %s: %v", fn.Name(), err)
		return nil, nil, protocol.Ended{Error: &e}
	}
	return v, raw, protocol.Ended{}
}

func numeric(v starlark.Value) error {
	switch v := v.(type) {
	case starlark.NoneType, starlark.Int:
		return nil
	case starlark.Float:
		if !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) {
			return nil
		}
	}
	return fmt.Errorf("got %s from it, want a number, or None where it cannot be told", notation.Got(v))
}

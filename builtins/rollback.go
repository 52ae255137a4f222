package builtins

import (
	"fmt"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

const maxRollbacks = 50

// rollback(fn, *args)
//
// It returns once the rollback is on disk, with all that a fresh worker needs
// to run it.
func rollback(s *Session, c *call) (starlark.Value, error) {
	var fn starlark.Value
	if err := c.unpack(&fn); err != nil {
		return nil, err
	}
	m, name, err := s.topLevel(fn)
	if err != nil {
		return nil, fmt.Errorf("fn: %w", err)
	}
	if s.scene.rolls >= maxRollbacks {
		return nil, fmt.Errorf("got more than %d of them", maxRollbacks)
	}
	args, err := toJSON(append(starlark.Tuple{}, c.rest()...))
	if err != nil {
		return nil, fmt.Errorf("args: %w", err)
	}
	s.scene.rolls++
	record := protocol.Rollback{
		ID: fmt.Sprintf("r%d", s.scene.rolls), Module: m.id, Func: name, Args: args,
		Sources: s.library.sources(), Params: s.cfg.Params, Seed: s.cfg.Seed,
	}
	return nil, s.scene.world.Register(s.ctx, record)
}

// topLevel finds a function again by its file and name, as a fresh worker will.
func (s *Session) topLevel(v starlark.Value) (*module, string, error) {
	fn, ok := v.(*starlark.Function)
	if !ok {
		return nil, "", fmt.Errorf("got %s, want a function of the script", notation.Got(v))
	}
	m := s.library.names[fn.Position().Filename()]
	// Free variables do no harm: those of a global are names that its file
	// loads, or come from a call at its top level, which a fresh worker makes
	// again with the same result and nothing can change afterwards.
	if m == nil || m.globals[fn.Name()] != v {
		return nil, "", hint(fmt.Errorf("got %s, which cannot be found again by its name", notation.Clean(fn.Name(), 80)),
			"it must run in a fresh process when this one is gone: make it a def at the top level of a file, and hand it what it needs as arguments of rollback()")
	}
	return m, fn.Name(), nil
}

// Roll runs one rollback function. A worker that was loaded for that alone
// fetches the function's file if it is not here.
func (s *Session) Roll(in protocol.Roll) protocol.Ended {
	if _, here := s.library.modules[in.Module]; !here && s.cfg.Mode == protocol.RollOnly {
		thread := s.enter(loading, s.world)
		err := safely(func() error {
			m, err := s.fetch(thread, in.Module)
			if err != nil {
				return err
			}
			return s.run(thread, m)
		})
		if err != nil {
			return s.ended(err)
		}
	}
	return s.roll(s.world, in)
}

func (s *Session) roll(world World, in protocol.Roll) protocol.Ended {
	thread := s.enter(rolling, world)
	bad := func(format string, args ...any) protocol.Ended {
		e := place{}.errorf("rollback: "+format, args...)
		return protocol.Ended{Error: &e}
	}
	m := s.library.modules[in.Module]
	if m == nil || !m.done || m.err != nil {
		return bad("there is no file %q", in.Module)
	}
	fn, ok := m.globals[in.Func].(*starlark.Function)
	if !ok {
		return bad("there is no function %s in %s", in.Func, m.name)
	}
	v, err := s.fromJSON(in.Args)
	if err != nil {
		return bad("%v", err)
	}
	list, ok := v.(*starlark.List)
	if !ok {
		return bad("got %s as arguments, want a list", v.Type())
	}
	var args starlark.Tuple
	for x := range list.Elements() {
		args = append(args, x)
	}
	return s.ended(safely(func() error {
		_, err := starlark.Call(thread, fn, args, nil)
		return err
	}))
}

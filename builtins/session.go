package builtins

import (
	"context"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// Config is what a session needs beside the world.
type Config struct {
	protocol.Load
	CheckSLI func(spec.SLI) error // says what is wrong with an SLI's PromQL; may be nil
}

// A Session is one script, from its loading to its last rollback. Its methods
// are called one at a time; Cancel at any time.
type Session struct {
	cfg         Config
	world       World
	predeclared starlark.StringDict
	library     *library
	declared    *declared
	rehearsed   bool
	prepare     func(*starlark.Thread) // by tests

	ctx    context.Context
	cancel context.CancelCauseFunc

	mu        sync.Mutex // of scene, against Cancel
	scene     *scene
	cancelled string
}

// New makes a session whose calls go to world. They end with ctx.
func New(ctx context.Context, cfg Config, world World) *Session {
	s := &Session{cfg: cfg, world: world, library: newLibrary(), declared: newDeclared(cfg)}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.predeclared = starlark.StringDict{
		equalName: equality(syntax.EQL), unequalName: equality(syntax.NEQ),
	}
	for i := range Table {
		row := &Table[i]
		s.predeclared[row.Name] = s.bind(row)
	}
	return s
}

// bind makes a builtin of a row, with the session as its receiver.
func (s *Session) bind(row *Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(row.Name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		return s.invoke(thread, row, args, kwargs)
	})
}

// Load loads the script and rehearses its method. It returns the experiment,
// or every error that was found.
func (s *Session) Load() (*spec.Experiment, []protocol.ScriptError) {
	thread := s.enter(loading, s.world)
	if err := safely(func() error { return s.loadMain(thread) }); err != nil {
		return nil, s.explain(err)
	}
	s.declared.experiment.Doc = s.library.doc()
	if s.cfg.Mode == protocol.RollOnly {
		return &s.declared.experiment, nil
	}
	found := s.declared.check(s.library.main)
	method, err := s.method()
	if err != nil {
		found = append(found, *err)
	}
	if method != nil {
		s.library.follow()
		steps, more := s.rehearse(method)
		s.declared.experiment.Steps = steps
		found = append(found, more...)
	}
	if lost := s.unreachable(); len(lost) > 0 {
		found = append(found, lost...)
	} else {
		found = append(found, s.tryInvariants(&rehearsal{World: s.world, session: s, steps: []spec.Step{}})...)
	}
	if len(found) > 0 {
		return nil, found
	}
	s.rehearsed = true
	return &s.declared.experiment, nil
}

// Method runs the script's method().
func (s *Session) Method() protocol.Ended {
	method, bad := s.method()
	switch {
	case !s.rehearsed:
		return protocol.Ended{Error: &protocol.ScriptError{Message: "method() has not been rehearsed"}}
	case bad != nil || method == nil:
		return protocol.Ended{Error: bad}
	}
	thread := s.enter(acting, s.world)
	return s.ended(safely(func() error {
		_, err := starlark.Call(thread, method, nil, nil)
		return err
	}))
}

// method is the script's method; nil without an error if there is none, which
// check tells among what is missing.
func (s *Session) method() (*starlark.Function, *protocol.ScriptError) {
	m := s.library.main
	if m == nil {
		return nil, nil
	}
	v, ok := m.globals["method"]
	if !ok {
		return nil, nil
	}
	f, ok := v.(*starlark.Function)
	switch {
	case !ok:
		e := place{pos: spec.Pos(m.name)}.errorf("method: got %s, want a function: def method(): …", v.Type())
		return nil, &e
	case f.NumParams() > 0:
		e := place{pos: spec.Pos(f.Position().String())}.errorf("method: got a function with %d parameters, want none: def method(): …", f.NumParams())
		return nil, &e
	}
	return f, nil
}

// doc is the script's docstring.
func (l *library) doc() string { return cleanDoc(docstring(l.main.file)) }

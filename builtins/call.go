package builtins

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/spec"
)

// A call is one call of a builtin or of a method of one of our values.
type call struct {
	thread *starlark.Thread
	row    *Builtin
	sig    *signature
	args   starlark.Tuple
	kwargs []starlark.Tuple
	known  *place // see at
}

// at is where the call stands. It is made when it is asked for: most calls of a
// flood never do.
func (c *call) at() place {
	if c.known == nil {
		p := placeOf(c.thread.CallStack())
		c.known = &p
	}
	return *c.known
}

// A place is where in the script something was said, and who called that.
type place struct {
	pos   spec.Pos
	stack []spec.Pos // callers, innermost first
}

// invoke is the one way into every builtin: it looks at the phase, names the
// builtin in the error, and turns a panic into one.
func (s *Session) invoke(thread *starlark.Thread, row *Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (v starlark.Value, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("%s: internal error: %v: a bug of the runner, not of the script", row.Name, p)
		}
	}()
	c := &call{thread: thread, row: row, sig: parseSignature(row.Signature), args: args, kwargs: kwargs}
	if err := s.allowed(c); err != nil {
		return nil, named(row.Name, err)
	}
	if err := s.noSecrets(c); err != nil {
		return nil, named(row.Name, err)
	}
	v, err = row.call(s, c)
	if err != nil {
		return nil, named(row.Name, err)
	}
	if v == nil {
		v = starlark.None
	}
	return v, nil
}

// named puts the builtin's name before an error that does not begin with it.
func named(name string, err error) error {
	if strings.HasPrefix(err.Error(), name+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// placeOf is the innermost place in a script of a stack of calls.
func placeOf(stack starlark.CallStack) (at place) {
	for i := range stack {
		frame := stack.At(i)
		if !inScript(frame) {
			continue
		}
		pos := spec.Pos(frame.Pos.String())
		if at.pos == "" {
			at.pos = pos
		} else if len(at.stack) < 20 {
			at.stack = append(at.stack, pos)
		}
	}
	return at
}

// inScript leaves out the frames of builtins.
func inScript(f starlark.CallFrame) bool { return f.Pos.Line > 0 }

// within says that the script's function of that name is being called.
func (c *call) within(name string) bool {
	for _, frame := range c.thread.CallStack() {
		if inScript(frame) && frame.Name == name {
			return true
		}
	}
	return false
}

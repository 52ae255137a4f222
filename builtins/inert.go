package builtins

import (
	"fmt"

	"go.starlark.net/starlark"

	"chaosrunner/runner/protocol"
)

// inert is embedded in values that are neither true nor false and no number.
// Starlark takes every value for true, so that `if availability:` would always
// hold; Truth cannot fail, so it stops the thread.
type inert struct {
	s    *Session
	what string // "an objective is neither true nor false"
	use  string // what to write instead
}

func (inert) Freeze() {}

func (i inert) Hash() (uint32, error) { return 0, fmt.Errorf("cannot be a key") }

// Truth implements starlark.Value.
func (i inert) Truth() starlark.Bool {
	i.s.scene.stop(protocol.ScriptError{Message: i.what, Hint: i.use})
	return false
}

func (i inert) instead() string { return i.use }

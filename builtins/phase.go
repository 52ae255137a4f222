package builtins

import (
	"fmt"
	"strings"
)

// A Phase says when a builtin may be called.
type Phase int

// The phases.
const (
	Declare  Phase = iota // while the script loads, at its top level or in a function called from there
	Act                   // in method()
	Probe                 // in method() and in rollback functions
	Anywhere              // also at the top level of a loaded file
)

func (p Phase) String() string {
	return [...]string{"at the top level", "in method()", "in method(), in rollback functions and in functions of an invariant", "anywhere"}[p]
}

// A stage is what a session is doing.
type stage int

const (
	loading  stage = iota
	acting         // method()
	rolling        // a rollback function
	checking       // a function of an invariant
)

// allowed refuses a builtin that stands in the wrong place.
func (s *Session) allowed(c *call) error {
	switch phase := c.row.Phase; {
	case phase == Anywhere:
		return nil
	case phase == Declare && s.scene.stage == loading:
		if lib := s.library.loadedFrom(); lib != "" {
			return fmt.Errorf("got a declaration at the top level of %s, want it in a function there: libraries offer functions", lib)
		}
		return nil
	case phase == Declare:
		return hint(fmt.Errorf("got a declaration in %s, want it at the top level of the script", s.scene.stage),
			"what an experiment is must be known before anything happens")
	case s.scene.stage == loading:
		if c.within("method") {
			return hint(fmt.Errorf("method() was called by the script"), "leave that to the runner: it calls method() when the steady state holds")
		}
		what := "got a call while the script loads, want it in method()"
		if phase == Act && strings.HasPrefix(c.row.Returns, "fault") {
			what = "got a fault while the script loads: faults go in method()"
		}
		return fmt.Errorf("%s", what)
	case phase == Act && s.scene.stage == rolling:
		return fmt.Errorf("got a call in a rollback function, which may only probe, .undo() and note()")
	case phase == Act && s.scene.stage == checking:
		return fmt.Errorf("got a call in a function of an invariant, which may only probe")
	}
	return nil
}

func (g stage) String() string {
	return [...]string{"loading", "method()", "a rollback function", "a function of an invariant"}[g]
}

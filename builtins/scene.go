package builtins

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// A scene is one use of the script: loading it, rehearsing or running its
// method, or one rollback function. Each has a thread of its own, since a
// cancelled thread is dead and steps add up on a reused one.
type scene struct {
	stage     stage
	world     World
	thread    *starlark.Thread
	rehearsal *rehearsal            // nil unless this is one
	pending   *protocol.ScriptError // what stopped the thread from outside the interpreter
	rand      *rand.PCG             // of pick(): the same stream in each scene
	notes     int
	rolls     int // rollbacks registered
}

// DefaultSteps is the interpreter's budget where the supervisor names none.
const DefaultSteps = 100_000_000

// enter begins a scene. A Cancel that came earlier holds for it too.
func (s *Session) enter(g stage, world World) *starlark.Thread {
	thread := &starlark.Thread{Name: g.String(), Load: s.load}
	next := &scene{stage: g, world: world, thread: thread, rand: rand.NewPCG(s.cfg.Seed, 0)}
	next.rehearsal, _ = world.(*rehearsal)
	steps := s.cfg.Steps
	if steps == 0 {
		steps = DefaultSteps
	}
	thread.SetMaxExecutionSteps(steps)
	thread.OnMaxSteps = func(*starlark.Thread) {
		next.stop(protocol.ScriptError{
			Message: fmt.Sprintf("the script computes too long: more than %d steps", steps), Hint: "does a loop have too many rounds?",
		})
	}
	if s.prepare != nil {
		s.prepare(thread)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancelled != "" {
		thread.Cancel(s.cancelled)
	}
	s.scene = next
	return thread
}

// stop ends the thread at its next step, with an error of ours at the place
// where it is. Only to be called from the thread itself.
func (c *scene) stop(e protocol.ScriptError) {
	if c.pending == nil {
		at := placeOf(c.thread.CallStack())
		e.Pos, e.Stack = at.pos, at.stack
		c.pending = &e
	}
	c.thread.Cancel(e.Message)
}

// stopped says why Cancel was called; "" if it was not.
func (s *Session) stopped() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cancelled
}

// Cancel ends whatever the session does, now and later.
func (s *Session) Cancel(reason string) {
	s.cancel(errors.New(reason))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancelled == "" {
		s.cancelled = "stopped: " + reason
	}
	if s.scene != nil {
		s.scene.thread.Cancel(s.cancelled)
	}
}

// safely runs a part of a scene. What panics there, outside of our builtins, is
// the interpreter itself.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error of the interpreter: %v: a bug of the runner, not of the script", p)
		}
	}()
	return f()
}

// ended tells how a function of the script ended.
func (s *Session) ended(err error) protocol.Ended {
	var failed expectFailed
	switch {
	case err == nil:
		return protocol.Ended{}
	case errors.As(err, &failed) && s.scene.pending == nil:
		e := s.explain(err)[0]
		e.Message, e.Hint = failed.message, ""
		return protocol.Ended{Expect: &e}
	}
	e := s.explain(err)[0]
	return protocol.Ended{Error: &e}
}

// here is the place of the call in progress.
func (c *scene) here() spec.Pos { return placeOf(c.thread.CallStack()).pos }

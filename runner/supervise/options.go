package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

// Options are what the command line says.
type Options struct {
	Exe       string                                 // this program, to start workers
	Agent     func(context.Context) (Process, error) // starts an agent where it belongs
	Script    string                                 // path of the experiment
	Root      string                                 // workspace root; empty: found
	Libs      map[string]string                      // --lib
	Params    map[string]string                      // --set
	Secrets   map[string]string                      // --secret: "@FILE", absolute, or "env:VARIABLE"; else RUNNER_SECRET_NAME
	Seed      uint64
	Project   string
	Allow     []string
	Policy    *policy.File   // the operator's; nil: there is none
	Rules     *policy.Policy // what it says
	Shared    bool           // go on beside other runs that share the engine
	State     string         // directory of ledgers; empty: the agent's default
	Heartbeat time.Duration  // silence that ends an agent; 0: its default
	Undo      time.Duration  // how long one undo may take; 0: the agent's default
	Think     time.Duration  // how long a script may compute without a call; 0: 15 s
	Out       string         // folder of runs
	Log       string         // CHAOS_LOG.md; empty: none is written
	Args      []string       // the command line, for the journal
	Version   string
	Each      func(journal.Event)              // sees every event in order; may be nil
	Warn      func(format string, args ...any) // tells the operator; may be nil
}

func (o Options) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn(format, args...)
	}
}

// A Refusal is a run that was refused before anything was touched.
type Refusal struct{ Errors []protocol.ScriptError }

func (r *Refusal) Error() string {
	lines := make([]string, len(r.Errors))
	for i, e := range r.Errors {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// add takes a refusal in and gives any other error back.
func (r *Refusal) add(err error) error {
	var one *Refusal
	if err != nil && !errors.As(err, &one) {
		return err
	}
	if one != nil {
		r.Errors = append(r.Errors, one.Errors...)
	}
	return nil
}

func refuse(pos spec.Pos, format string, args ...any) *Refusal {
	return &Refusal{Errors: []protocol.ScriptError{{Pos: pos, Message: fmt.Sprintf(format, args...)}}}
}

// A Signal is the cause of a run's end by a signal to the supervisor.
type Signal struct{ Name string }

func (s Signal) Error() string { return "got " + s.Name }

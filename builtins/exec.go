package builtins

import (
	"fmt"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

// exec(target, argv, *, undo = None, timeout = "30s", duration = None)
func execProgram(s *Session, c *call) (starlark.Value, error) {
	var (
		target            notation.Targets
		argv, undo        words
		timeout, duration notation.Duration
	)
	if err := c.unpack(&target, &argv, &undo, &timeout, &duration); err != nil {
		return nil, err
	}
	if len(undo) == 0 && s.scene.rolls == 0 {
		return nil, hint(fmt.Errorf("got neither undo nor an earlier rollback(), want the remedy before the harm"),
			`write undo = ["true"] where there is nothing to take back`)
	}
	h, err := s.inject(c, target, &fault.Exec{Argv: argv, Remedy: undo, Timeout: time.Duration(timeout)}, duration)
	if err != nil {
		return nil, err
	}
	h.said = saidBy(h.got)
	return h, nil
}

// words are a program and its arguments.
type words []string

// Unpack implements starlark.Unpacker.
func (w *words) Unpack(v starlark.Value) error {
	list, ok := v.(starlark.Indexable)
	if _, text := v.(starlark.String); !ok || text {
		return fmt.Errorf(`got %s, want a list of strings such as ["psql", "-c", "SELECT 1"]: there is no shell in between`, notation.Got(v))
	}
	for i := range list.Len() {
		s, ok := list.Index(i).(starlark.String)
		if !ok {
			return fmt.Errorf("got %s in it, want strings", notation.Got(list.Index(i)))
		}
		*w = append(*w, string(s))
	}
	return nil
}

// saidBy is what programs said, and the worst of their exit codes.
func saidBy(got protocol.Handle) starlark.StringDict {
	code := 0
	var output []string
	for _, f := range got.Findings {
		if n, ok := f.Figures[fault.ExitCode]; ok {
			code = max(code, int(n))
			output = append(output, f.Text)
		}
	}
	return starlark.StringDict{"code": starlark.MakeInt(code), "output": starlark.String(strings.Join(output, "\n"))}
}

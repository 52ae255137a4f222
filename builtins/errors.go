package builtins

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// hinted is an error with a piece of advice for people.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

func hint(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

// sourceErrors are the errors that were found in one file without running it.
type sourceErrors []protocol.ScriptError

func (e sourceErrors) Error() string {
	if len(e) == 1 {
		return e[0].Message
	}
	return fmt.Sprintf("%s (and %d more errors)", e[0].Message, len(e)-1)
}

// expectFailed ends a function whose expect() was false.
type expectFailed struct{ message string }

func (e expectFailed) Error() string { return e.message }

// maxMessage bounds what an error of a script can say: fail("x" * (1 << 20)).
const maxMessage = 2000

// explain tells an error of the interpreter in terms of the script.
func (s *Session) explain(err error) []protocol.ScriptError {
	if s.scene.pending != nil {
		return []protocol.ScriptError{*s.scene.pending}
	}
	deepest := deepestEval(err)
	var at place
	message := err.Error()
	if deepest != nil {
		at, message = placeOf(deepest.CallStack), deepest.Msg
	}
	var found sourceErrors
	if errors.As(err, &found) { // of a loaded file: the load statement is its caller
		return withCallers(found, at)
	}
	out := protocol.ScriptError{Pos: at.pos, Stack: at.stack}
	var h hinted
	switch {
	case errors.As(err, &h):
		out.Hint = h.hint
	case s.stopped() != "":
		message = s.stopped()
	default:
		out.Hint = hintFor(message[:min(len(message), maxMessage)])
	}
	out.Message = notation.Clean(message, maxMessage)
	return []protocol.ScriptError{out}
}

// deepestEval is the error of the innermost file: each load statement on the
// way wraps it once more, with a shorter stack.
func deepestEval(err error) (deepest *starlark.EvalError) {
	for err != nil {
		var e *starlark.EvalError
		if !errors.As(err, &e) {
			break
		}
		deepest, err = e, e.Unwrap()
	}
	return deepest
}

func withCallers(found sourceErrors, at place) []protocol.ScriptError {
	out := make([]protocol.ScriptError, len(found))
	for i, e := range found {
		if at.pos != "" {
			e.Stack = append([]spec.Pos{at.pos}, at.stack...)
		}
		out[i] = e
	}
	return out
}

// hints for what newcomers write, by the interpreter's own message.
var hints = []struct {
	message *regexp.Regexp
	hint    string
}{
	{regexp.MustCompile(`^(slo|sli) (<|<=|>|>=) .* not implemented|.* (<|<=|>|>=) (slo|sli) not implemented`),
		"an objective is no number: write abort_if(availability, below = 0.9); a figure is observe(…)[availability].value"},
	{regexp.MustCompile(`^(figure|figures|reply) (<|<=|>|>=) |(<|<=|>|>=) (figure|figures|reply) not`),
		"compare its .value (of a figure) or its .status (of a reply)"},
	{regexp.MustCompile(`NoneType (<|<=|>|>=) |(<|<=|>|>=) NoneType not`),
		"None means no data or no answer: look whether it is None first"},
	{regexp.MustCompile(`called recursively`), "there is no recursion in Starlark: use a for loop"},
	{regexp.MustCompile(`^unknown binary op: (string \+ (int|float)|(int|float) \+ string)`), `use "%d" % n or str(n)`},
	{regexp.MustCompile(`^local variable .* referenced before assignment`), "a global cannot be assigned in a function: return the value instead"},
	{regexp.MustCompile(`^cannot (insert into|append to|delete from|assign to|clear) frozen|frozen (list|dict|set)`),
		"what the top level made cannot change once the script is loaded: make it inside the function"},
	{regexp.MustCompile(`^invalid call of non-function`), "is one of your own variables named like what you mean to call?"},
}

func hintFor(message string) string {
	for _, h := range hints {
		if h.message.MatchString(message) {
			return h.hint
		}
	}
	return ""
}

// at makes an error about something declared.
func (p place) errorf(format string, args ...any) protocol.ScriptError {
	return protocol.ScriptError{Pos: p.pos, Stack: p.stack, Message: notation.Clean(fmt.Sprintf(format, args...), maxMessage)}
}

// article joins names as a sentence does: "a, b and c".
func article(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

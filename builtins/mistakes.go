package builtins

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// statement begins where reading can go on after a syntax error.
var statement = regexp.MustCompile(`^(def |load\(|[a-z_][a-z0-9_]*(\(| *=[^=]))`)

// syntaxErrors tells every syntax error of a file. The parser stops at the
// first, so the rest is read again from the next statement at the top level.
func syntaxErrors(name, source string, err error) sourceErrors {
	var found sourceErrors
	lines := strings.Split(source, "\n")
	for range maxErrors {
		var e syntax.Error
		if !errors.As(err, &e) {
			return append(found, protocol.ScriptError{Pos: spec.Pos(name), Message: notation.Clean(err.Error(), maxMessage)})
		}
		at := int(e.Pos.Line)
		line := ""
		if at > 0 && at <= len(lines) {
			line = lines[at-1]
		}
		found = append(found, protocol.ScriptError{
			Pos: spec.Pos(tokenStart(e, lines).String()), Message: notation.Clean(e.Msg, maxMessage), Hint: syntaxHint(e.Msg, line),
		})
		next := at
		for next < len(lines) && !statement.MatchString(lines[next]) {
			next++
		}
		if next >= len(lines) || at == 0 || strings.Contains(e.Msg, "unexpected EOF") {
			break
		}
		rest := strings.Repeat("\n", next) + strings.Join(lines[next:], "\n")
		if _, err = dialect.Parse(name, rest, 0); err == nil {
			break
		}
	}
	return found
}

// tokenStart is where the token begins that the parser stumbled over; the
// parser tells where it ends.
func tokenStart(e syntax.Error, lines []string) syntax.Position {
	pos := e.Pos
	if pos.Line < 1 || int(pos.Line) > len(lines) {
		return pos
	}
	line := []rune(lines[pos.Line-1])
	end := int(pos.Col) - 1
	switch {
	case strings.HasPrefix(e.Msg, "got newline") && pos.Col == 1 && pos.Line > 1:
		pos.Line--
		pos.Col = int32(len([]rune(lines[pos.Line-1]))) + 1
	case end < 1 || end > len(line):
	case strings.HasPrefix(e.Msg, "got identifier"):
		for pos.Col > 1 && isWord(line[pos.Col-2]) {
			pos.Col--
		}
	case strings.HasPrefix(e.Msg, "got string literal"):
		if at := strings.LastIndex(string(line[:end-1]), string(line[end-1])); at >= 0 {
			pos.Col = int32(len([]rune(string(line)[:at]))) + 1
		}
	}
	return pos
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

var fString = regexp.MustCompile(`\b[fF]["']`)

// syntaxHint says what is likely meant at a place that is no Starlark.
func syntaxHint(message, line string) string {
	word := firstWord(line)
	switch {
	case fString.MatchString(line) && strings.Contains(message, "string literal"):
		return `there are no f-strings: write "%s" % x, or "{}".format(x)`
	case word == "import" || word == "from":
		return `there is no import: write load("//lib.star", "checkout")`
	case slices.Contains([]string{"try", "except", "raise", "with", "class", "async", "await", "yield", "assert", "del", "global", "nonlocal"}, word):
		return word + " is Python, not Starlark" + map[string]string{
			"try": ": an error ends the method, and everything is undone", "except": ": an error ends the method, and everything is undone",
			"with": ": a fault ends by its duration, by .undo() or with method()", "raise": ": write fail(…)", "assert": ": write expect(…)",
		}[word]
	case strings.Contains(message, "want ')'") || strings.Contains(message, "want ']'") || strings.Contains(message, "want '}'") || strings.Contains(message, "want ','"):
		return "is a comma, or a closing bracket, missing before it?"
	case strings.Contains(message, "want ':'"):
		return "is a colon missing?"
	case strings.Contains(message, "got '=', want"):
		return `"=" assigns; "==" compares`
	case strings.Contains(message, "indent"):
		return "indent with four spaces, the same in the whole block"
	}
	return ""
}

func firstWord(line string) string {
	return strings.TrimRight(strings.SplitN(strings.TrimSpace(line)+" ", " ", 2)[0], ":(")
}

// resolveError tells an error about a name. The interpreter's own guess does
// not know the builtins.
func resolveError(e resolve.Error, predeclared starlark.StringDict) protocol.ScriptError {
	out := protocol.ScriptError{Pos: spec.Pos(e.Pos.String()), Message: notation.Clean(e.Msg, maxMessage)}
	if strings.Contains(e.Msg, "while loop") {
		out.Message, out.Hint = "there is no while in this Starlark: a script must end", "write for i in range(10): …, with break to leave early"
		return out
	}
	rest, undefined := strings.CutPrefix(e.Msg, "undefined: ")
	if !undefined {
		return out
	}
	name, guess, _ := strings.Cut(rest, " ")
	if advice := foreign[name]; advice != "" {
		out.Message, out.Hint = "undefined: "+notation.Clean(name, 80), advice
		return out
	}
	known := slices.Collect(maps.Keys(predeclared))
	known = append(known, slices.Collect(maps.Keys(starlark.Universe))...)
	slices.Sort(known)
	if near := nearest(name, known); near != "" && guess == "" {
		out.Message = "undefined: " + notation.Clean(name, 80) + " (did you mean " + near + "?)"
	} else if guess == "" {
		out.Hint = `if it is a service, write it as a string: "` + notation.Clean(name, 80) + `"`
	}
	return out
}

// foreign are names from other languages.
var foreign = map[string]string{
	"true": "write True", "false": "write False", "null": "write None", "none": "write None", "nil": "write None",
	"sleep": `observe("5s") lets time pass, under the watcher`, "wait": `observe("5s") lets time pass, under the watcher`,
	"time": `there is no clock: observe("5s") lets time pass`, "datetime": `there is no clock: observe("5s") lets time pass`,
	"random": `there is no randomness but pick("chunk*", n = 1), whose seed is in the journal`,
	"os":     "a script cannot reach the environment: param() takes values from --set", "env": "a script cannot reach the environment: param() takes values from --set",
	"open": "a script cannot reach files", "input": "param() takes values from --set", "import": `write load("//lib.star", "checkout")`,
	"assert": "write expect(condition, message)", "round": "there is no round: use int(x + 0.5)",
}

package notation

import (
	"regexp"
	"strings"

	"go.starlark.net/starlark"
)

// A mark stands for a secret's value in everything that a script makes and that
// is written down. It is plain text, so that it goes through formats, URLs and
// JSON unchanged; only the supervisor knows the value.
const markBegins = "((secret."

var marks = regexp.MustCompile(`\(\(secret\.([a-z][a-z0-9_]{0,39})\)\)`)

// Mark is the mark of a secret.
func Mark(name string) string { return markBegins + name + "))" }

// Marked has the names of the secrets whose marks stand in a text.
func Marked(s string) (names []string) {
	if !strings.Contains(s, markBegins) {
		return nil
	}
	for _, m := range marks.FindAllStringSubmatch(s, -1) {
		names = append(names, m[1])
	}
	return names
}

// Unmark puts something in the place of each mark.
func Unmark(s string, value func(name string) string) string {
	if !strings.Contains(s, markBegins) {
		return s
	}
	return marks.ReplaceAllStringFunc(s, func(m string) string { return value(marks.FindStringSubmatch(m)[1]) })
}

// Defused is a text from outside in which nothing is a mark: what a server
// answers must not have a secret sent elsewhere.
func Defused(s string) string { return strings.ReplaceAll(s, markBegins, "((masked.") }

// Text is that of a string, or the mark of a secret.
func Text(v starlark.Value) (string, bool) {
	if s, ok := v.(interface{ Mark() string }); ok {
		return s.Mark(), true
	}
	return starlark.AsString(v)
}

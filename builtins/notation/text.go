package notation

import (
	"strings"

	"go.starlark.net/starlark"
)

// Name is what people will read in a report: letters, digits, spaces and
// -_.,:/()<>=%, at most 80 bytes.
type Name string

// Unpack implements starlark.Unpacker.
func (n *Name) Unpack(v starlark.Value) error {
	s, ok := v.(starlark.String)
	if !ok {
		return want(v, `a name such as "availability"`)
	}
	if len(s) > 80 || strings.TrimSpace(string(s)) != string(s) || s == "" || !safeText(string(s)) {
		return want(v, "a name of 1 to 80 printable characters")
	}
	if strings.ContainsAny(string(s), "`|*[]{}\\\"'#!") {
		return want(v, "a name without the signs that documents and labels use (`|*[]{}\\\"'#!)")
	}
	*n = Name(s)
	return nil
}

// Sentence is one line of text for people, at most 500 bytes.
type Sentence string

// Unpack implements starlark.Unpacker.
func (t *Sentence) Unpack(v starlark.Value) error {
	s, ok := v.(starlark.String)
	if !ok {
		return want(v, "a text")
	}
	// A text in triple quotes is wrapped in the script, not in the report.
	line := strings.Join(strings.Fields(string(s)), " ")
	switch {
	case line == "":
		return want(v, "a text that says something")
	case len(line) > 500:
		return want(v, "at most 500 bytes: this text has %d", len(line))
	case !safeText(line):
		return want(v, "a text without control characters")
	}
	*t = Sentence(line)
	return nil
}

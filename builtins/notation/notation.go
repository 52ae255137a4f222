// Package notation is how people write quantities in an experiment: "400ms",
// "80%", "40/s", "catalog#2".
//
//	"1m30s" ──Unpack──▶ notation.Duration ──▶ time.Duration in the spec
//
// Each notation is a type of its own that a builtin declares its parameter
// with. Unpack either takes a value or says what it got, what it wants and how
// that is written; the caller puts the names of builtin and parameter before it.
package notation

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.starlark.net/starlark"
)

// Got is a value as an error tells it: its type, and the value where that is
// short and harmless.
func Got(v starlark.Value) string {
	switch v := v.(type) {
	case starlark.NoneType:
		return "None"
	case starlark.String:
		return Quote(string(v))
	case starlark.Int, starlark.Float, starlark.Bool:
		s := v.String()
		if len(s) > 24 {
			s = s[:24] + "…"
		}
		return v.Type() + " " + s
	}
	return v.Type()
}

// Quote quotes a text for an error, shortened.
func Quote(s string) string {
	const most = 60
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return strconv.QuoteToGraphic(s[:cut]) + "…"
	}
	return strconv.QuoteToGraphic(s)
}

// want is the error of every notation.
func want(v starlark.Value, format string, args ...any) error {
	return fmt.Errorf("got %s, want %s", Got(v), fmt.Sprintf(format, args...))
}

// Clean makes a text of the script harmless for a terminal, a log line and a
// document: control characters, line breaks and what reorders text are escaped,
// and it has at most max bytes of the text.
func Clean(s string, max int) string {
	var b strings.Builder
	for i, r := range s {
		if b.Len() >= max {
			fmt.Fprintf(&b, "… (%d bytes more)", len(s)-i)
			break
		}
		switch {
		case r == utf8.RuneError && badByte(s[i:]):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case harmless(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

func badByte(s string) bool {
	_, size := utf8.DecodeRuneInString(s)
	return size == 1
}

// harmless leaves out controls and the invisible characters that reorder a line
// (U+202E) or hide in one (U+200B).
func harmless(r rune) bool { return unicode.IsPrint(r) }

// safeText refuses what no name, label or header may hold.
func safeText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !harmless(r) {
			return false
		}
	}
	return true
}

// number splits "1.5MiB" into 1.5 and "MiB". No sign, exponent, hexadecimal or
// infinity is understood: nobody writes them in an experiment on purpose.
func number(s string) (n float64, unit string, ok bool) {
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(s)
	}
	if end == 0 || end > 18 || s[0] == '.' || s[end-1] == '.' {
		return 0, "", false
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	return n, s[end:], err == nil
}

package report

import (
	"fmt"
	"strings"

	"chaosrunner/runner/journal"
)

func sqlLine(d journal.SQL) string {
	verb := "read"
	if d.Write {
		verb = "write"
	}
	s := fmt.Sprintf("%s %s: %s", verb, d.DSN, strings.Join(strings.Fields(d.Query), " "))
	switch {
	case d.Error != "":
		return s + ": " + d.Error
	case d.Truncated:
		return fmt.Sprintf("%s: more than the %d rows that were taken, in %.3fs", s, d.Rows, d.Seconds)
	case d.Rows == 1:
		return fmt.Sprintf("%s: 1 row in %.3fs", s, d.Seconds)
	}
	return fmt.Sprintf("%s: %d rows in %.3fs", s, d.Rows, d.Seconds)
}

// invariantLine tells of a violation that lasts, and of its end.
func invariantLine(d journal.Invariant) string {
	switch {
	case !d.News:
		return ""
	case d.Violated:
		return fmt.Sprintf("invariant %s is violated: %s, want %s", d.Name, Number(d.Value), d.Want)
	}
	return fmt.Sprintf("invariant %s holds again: %s", d.Name, Number(d.Value))
}

func logsLine(d journal.Logs) string {
	s := fmt.Sprintf("logs of %s: %d lines", strings.Join(d.Targets, ", "), d.Lines)
	if d.Contains != "" {
		s += fmt.Sprintf(" with %q", d.Contains)
	}
	if d.Truncated {
		s += ", and more before them"
	}
	return s
}

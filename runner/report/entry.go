package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"chaosrunner/builtins/spec"
)

// Marker is the line that tells an entry's run, so that it is written once.
func Marker(run string) string { return "<!-- run " + run + " -->" }

// Entry is the run's entry in CHAOS_LOG.md, as Markdown. dir is where the
// evidence lies, as the reader of the log will find it.
func (r Result) Entry(dir string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("## %s · %s · %s", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"), text(r.Name), r.headline())
	p("%s\n", Marker(r.Run))
	p("> %s\n", text(cmp.Or(r.Hypothesis, "(no hypothesis was read)")))
	p("- **Verdict**: %s", text(r.Summary()))
	p("- **Blast radius**: %s", radius(r.BlastRadius))
	for _, line := range r.injected() {
		p("- **Injected**: %s", text(line))
	}
	if len(r.Faults) == 0 {
		p("- **Injected**: nothing")
	}
	if a := r.Abort; a != nil {
		p("- **Abort**: %s; true in the data to seen %.2f s, seen to undo ordered %.3f s, ordered to undone %.2f s",
			text(a.Name), a.Seen, a.Ordered, a.Undone)
	}
	for _, s := range r.Stuck {
		p("- **STUCK**: %s", text(s))
	}
	if set := r.settings(); set != "" {
		p("- **Parameters**: %s", text(set))
	}
	p("- **Evidence**: `%s` (seed %d, %.0f s)\n", dir, r.Seed, r.Seconds)
	if len(r.SLOs) > 0 {
		p("| objective | before | during | after | recovered |")
		p("| --- | --- | --- | --- | --- |")
		for _, s := range r.SLOs {
			p("| %s %s | %s | %s | %s | %s |", text(s.Name), s.Objective, s.Before.cell(), s.During.cell(), s.After.cell(), s.recovered())
		}
		p("")
	}
	p("What happened:\n")
	for _, m := range r.Timeline {
		p("- +%.1f s %s", m.At, text(m.Text))
	}
	return b.String()
}

func (r Result) headline() string {
	if len(r.Stuck) > 0 {
		return "STUCK"
	}
	if r.Ending == Completed {
		return r.Verdict
	}
	return r.Ending + ", " + r.Verdict
}

func (r Result) injected() []string {
	var lines []string
	for _, f := range r.Faults {
		what := cmp.Or(f.Harm, f.Kind+" "+f.Target)
		if !f.Undone.IsZero() && f.Held > 0 {
			what += fmt.Sprintf(", for %.1f s", f.Held)
		}
		if f.Pos != "" {
			what += " (" + string(f.Pos) + ")"
		}
		lines = append(lines, what)
	}
	return lines
}

func (r Result) settings() string {
	var parts []string
	for _, p := range r.Params {
		parts = append(parts, p.Name+" = "+p.Value)
	}
	return strings.Join(parts, ", ")
}

func radius(b spec.BlastRadius) string {
	s := text(strings.Join(b.Targets, ", "))
	if b.AtMost > 0 {
		s += fmt.Sprintf(", at most %d at once", b.AtMost)
	}
	return fmt.Sprintf("%s, at most %s", cmp.Or(s, "none"), Duration(b.Duration))
}

func (f *Figure) cell() string {
	if f == nil {
		return "–"
	}
	s := Number(f.Value)
	if f.Count > 0 {
		s += fmt.Sprintf(" (n=%d)", f.Count)
	}
	if f.Verdict != "" {
		s += " " + f.Verdict
	}
	return s
}

func (s SLO) recovered() string {
	switch {
	case s.Recovered != nil:
		return fmt.Sprintf("%.1f s", *s.Recovered)
	case s.Late:
		return fmt.Sprintf("not within %g s", s.Limit)
	}
	return "–"
}

// text makes any text safe inside one line of Markdown: what a script says
// must not become a heading, a table cell or HTML in somebody's log.
func text(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '\n' || c == '\r' || c == '\t':
			b.WriteByte(' ')
		case c < 0x20 || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		case strings.ContainsRune("|<`\\*", c):
			b.WriteByte('\\')
			b.WriteRune(c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
)

// Objective is an objective as people write it: "≥ 0.99", "= 0", "1 to 2".
func Objective(min, max *float64) string {
	switch {
	case min != nil && max != nil && *min == *max:
		return fmt.Sprintf("= %g", *min)
	case min != nil && max != nil:
		return fmt.Sprintf("%g to %g", *min, *max)
	case min != nil:
		return fmt.Sprintf("≥ %g", *min)
	case max != nil:
		return fmt.Sprintf("≤ %g", *max)
	}
	return ""
}

// Number prints a value with four significant digits and a share near 1 with
// as many as tell it from 1; "no data" for nil.
func Number(v *float64) string {
	switch {
	case v == nil:
		return "no data"
	case *v > 0.99 && *v < 1:
		return fmt.Sprintf("%.*f", int(math.Ceil(-math.Log10(1-*v)))+2, *v)
	case *v == math.Trunc(*v) && math.Abs(*v) < 1e6:
		return fmt.Sprintf("%.2f", *v)
	}
	return fmt.Sprintf("%.4g", *v)
}

// Describe is a failure as one line.
func Describe(f journal.Failure) string {
	s := f.Message
	if f.Pos != "" {
		s = string(f.Pos) + ": " + s
	} else if f.Where != "" {
		s = f.Where + ": " + s
	}
	return s
}

// Summary is the result in one line, such as
// "aborted after 4.2s: broke (availability 0.00, want ≥ 0.99)".
func (r Result) Summary() string {
	var b strings.Builder
	switch r.Ending {
	case Completed:
		b.WriteString(r.Verdict)
	case Aborted:
		b.WriteString("aborted")
		if r.Abort != nil { // else the blast radius' time was up
			fmt.Fprintf(&b, " after %.1fs", r.Abort.After)
		}
		b.WriteString(": " + r.Verdict)
	case Refused:
		b.WriteString("refused")
	default:
		fmt.Fprintf(&b, "%s: %s", r.Ending, r.Verdict)
	}
	if r.Reason != "" {
		fmt.Fprintf(&b, " (%s)", r.Reason)
	}
	if n := len(r.Stuck); n > 0 {
		fmt.Fprintf(&b, "; STUCK: %s", strings.Join(r.Stuck, "; "))
	}
	return b.String()
}

// Line is an event as one line for people; "" for those that are only figures.
func Line(e journal.Event) string {
	switch d := e.Data.(type) {
	case protocol.Abandoned:
		return Abandoned(d)
	case spec.Experiment:
		return "hypothesis: " + d.Hypothesis
	case journal.Traffic:
		return fmt.Sprintf("traffic %s: %g requests/s to %s%s", d.Name, d.Arrivals, d.URL, parens(d.Note))
	case journal.Phase:
		return phase(d)
	case journal.Source:
		if d.Up {
			return "source " + d.Name + " is back"
		}
		return "source " + d.Name + " is gone: " + d.Why
	case journal.Inject:
		return "inject " + strings.Join(d.Harm, "; ") + parens(string(d.Fault.Pos))
	case journal.Applied:
		return fmt.Sprintf("%s is in place on %s, %s after its undo was on disk%s", d.Kind, d.Target.Name, short(d.Applied.Sub(d.Intent)), measured(d.Findings))
	case journal.Changed:
		return fmt.Sprintf("%s on %s changed%s%s", d.Kind, d.Target.Name, parens(string(d.Pos)), measured(d.Findings))
	case journal.Told:
		return d.ID + ": " + d.Text
	case journal.Undo:
		return "undo ordered: " + d.Reason
	case protocol.UndoResult:
		return UndoText(d)
	case journal.Observed:
		return fmt.Sprintf("observed %s%s", short(d.To.Sub(d.From)), figures(d.Figures))
	case journal.HTTP:
		if d.Error != "" {
			return fmt.Sprintf("%s %s: %s", d.Method, d.URL, d.Error)
		}
		return fmt.Sprintf("%s %s: %d in %.3fs", d.Method, d.URL, d.Status, d.Seconds)
	case journal.SQL:
		return sqlLine(d)
	case journal.PromQL:
		return "promql " + d.Query + ": " + Number(d.Value) + parens(d.Why)
	case journal.Logs:
		return logsLine(d)
	case journal.Invariant:
		return invariantLine(d)
	case journal.Note:
		return d.Text
	case journal.Failure:
		if e.Kind == "expect" {
			return "expectation failed: " + Describe(d)
		}
		return "failure: " + Describe(d)
	case journal.Stopping:
		return d.Ending + ": " + d.Reason
	case journal.Abort:
		return abort(d)
	case journal.Rollback:
		if d.Error != "" {
			return fmt.Sprintf("rollback %s failed: %s", d.Func, d.Error)
		}
		return "rollback " + d.Func + " done"
	case journal.Judged:
		return judged(d)
	case journal.Recovery:
		if d.Seconds == nil {
			return fmt.Sprintf("%s did not hold again within %gs%s", d.SLO, d.Limit, parens(d.Note))
		}
		return fmt.Sprintf("%s holds again %.1fs after the last undo%s", d.SLO, *d.Seconds, parens(d.Note))
	}
	return ""
}

// Abandoned says what became of a dead run's faults.
func Abandoned(d protocol.Abandoned) string {
	var parts []string
	for _, u := range d.Results {
		parts = append(parts, UndoText(u))
	}
	if len(parts) == 0 {
		parts = []string{"nothing was injected"}
	}
	return fmt.Sprintf("cleaned up after dead run %s: %s%s", d.Run, strings.Join(parts, "; "), parens(d.Damaged))
}

func phase(d journal.Phase) string {
	switch d.Name {
	case journal.PhaseBaseline:
		return "baseline: " + d.Note
	case journal.PhaseMethod:
		return "steady state holds; method begins"
	case journal.PhaseRecovery:
		return "everything is undone; watching the recovery"
	}
	return ""
}

// UndoText says what became of one fault.
func UndoText(d protocol.UndoResult) string {
	if d.Error != "" {
		s := fmt.Sprintf("STUCK: %s on %s could not be undone: %s", d.Kind, d.Target.Name, d.Error)
		if d.Mend != "" {
			s += "; mend it with: " + d.Mend
		}
		return s
	}
	return fmt.Sprintf("%s on %s undone in %s%s%s", d.Kind, d.Target.Name, short(d.Ended.Sub(d.Began)), parens(d.Reason), measured(d.Findings))
}

// measured is the proof of a fault, as the end of a line.
func measured(all []fault.Finding) string {
	texts := make([]string, len(all))
	for i, f := range all {
		texts[i] = f.Text
	}
	if len(texts) == 0 {
		return ""
	}
	return "; measured: " + strings.Join(texts, "; ")
}

func abort(d journal.Abort) string {
	if d.Blind {
		return fmt.Sprintf("ABORT: blind on %s for %s: %s", d.Name, short(d.Seen.Sub(d.Since)), d.Why)
	}
	return fmt.Sprintf("ABORT: %s %s, want %s, for %s%s", d.Name, Number(d.Value), d.Want, short(d.Seen.Sub(d.Since)), parens(string(d.Pos)))
}

func judged(d journal.Judged) string {
	s := fmt.Sprintf("%s over %s: %s", d.SLO, d.Window, Number(d.Value))
	if d.Count > 0 {
		s += fmt.Sprintf(" (n=%d)", d.Count)
	}
	if d.Verdict != "" {
		s += " " + d.Verdict
	}
	return s + parens(d.Note)
}

func figures(all map[string]protocol.Figure) string {
	var parts []string
	for _, name := range sortedKeys(all) {
		parts = append(parts, name+" "+Number(all[name].Value))
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

func parens(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// short prints a duration with three digits at most.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return Duration(d.Round(time.Second))
}

// Duration prints a duration as people write it: "1m" rather than "1m0s".
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

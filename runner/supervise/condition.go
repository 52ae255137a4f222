package supervise

import (
	"cmp"
	"fmt"
	"time"

	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
)

const blindLimit = 3 * time.Second // of no data, before a condition aborts

// condition is an abort condition and what is known of it.
type condition struct {
	spec.Abort
	violated time.Time // since when, without a break; zero: it is not
	blind    time.Time // since when there is no data; zero: there is
}

// reading is a condition's value, and for how long new data behind it has been
// overdue.
type reading struct {
	sli.Value
	overdue time.Duration
	late    string // why it is overdue
}

// known takes a value that cannot tell whether the condition holds for no
// value: a quantile beyond its histogram's last boundary may be anything above.
func (c *condition) known(v sli.Value) sli.Value {
	if v.OK && v.AtLeast && c.Above != nil && *c.Above >= v.V {
		return sli.Value{Why: fmt.Sprintf("the histogram ends at %g, below the threshold %g", v.V, *c.Above)}
	}
	return v
}

func (c *condition) bad(v reading) bool {
	return v.OK && (c.Below != nil && v.V < *c.Below || c.Above != nil && v.V > *c.Above)
}

// judge updates a condition with a reading and says whether it fires.
func (c *condition) judge(v reading, now time.Time) *journal.Abort {
	bad := c.bad(v)
	since(&c.violated, bad, now, v.OK) // no data leaves it as it was: it proves nothing
	since(&c.blind, !v.OK || v.overdue > 0, now, true)
	fired := journal.Abort{Name: c.Name, Want: wanted(c.Abort), Seen: now, Pos: c.Pos}
	switch {
	case bad && now.Sub(c.violated) >= c.Lasting:
		fired.Value, fired.Count, fired.Since = &v.V, v.Total, c.violated
	case c.blindFor(v, now) >= blindLimit:
		fired.Blind, fired.Since, fired.Why = true, now.Add(-c.blindFor(v, now)), cmp.Or(v.Why, v.late)
	default:
		return nil
	}
	return &fired
}

// blindFor is how long the condition has had no data, or only old data. Data
// that was overdue before the watcher could look counts from its own time.
func (c *condition) blindFor(v reading, now time.Time) time.Duration {
	if c.blind.IsZero() {
		return 0
	}
	blind := now.Sub(c.blind)
	if v.overdue != sli.Never {
		blind = max(blind, v.overdue)
	}
	return blind
}

func since(at *time.Time, is bool, now time.Time, known bool) {
	switch {
	case is && at.IsZero():
		*at = now
	case !is && known:
		*at = time.Time{}
	}
}

func wanted(a spec.Abort) string { return report.Objective(a.Below, a.Above) }

func sampleOf(name string, v sli.Value, bad bool) journal.Sample {
	s := journal.Sample{Name: name, Count: v.Total, Violated: bad}
	if v.OK {
		s.Value = &v.V
	} else {
		s.Why = v.Why
	}
	return s
}

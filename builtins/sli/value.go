package sli

import (
	"fmt"
	"math"
	"time"

	"chaosrunner/builtins/spec"
)

// Window is a span of time: from Start (not included where samples are read,
// included where requests are counted by the time they were sent) to End.
type Window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Length is the window's length; never below zero.
func (w Window) Length() time.Duration { return max(0, w.End.Sub(w.Start)) }

// Value is one reading of an SLI. With OK false there is no number, V is zero
// and Why says why; V is never NaN or infinite.
type Value struct {
	V       float64 `json:"v"` // a share, seconds, or whatever the query yields
	OK      bool    `json:"ok"`
	Good    int64   `json:"good,omitempty"`     // of a ratio, or successes: what counted as good
	Total   int64   `json:"total,omitempty"`    // requests or observations seen; 0 where counts are not known
	Approx  bool    `json:"approx,omitempty"`   // the counts are a Prometheus server's extrapolation
	AtLeast bool    `json:"at_least,omitempty"` // V is the histogram's last boundary; the true value lies above it
	Why     string  `json:"why,omitempty"`      // why there is no value
	Wrong   bool    `json:"wrong,omitempty"`    // and never will be: the SLI is not what its objective takes it for
	Note    string  `json:"note,omitempty"`     // a remark on the value there is
}

func none(format string, args ...any) Value { return Value{Why: fmt.Sprintf(format, args...)} }

// share refuses a value that no objective in per cent can be meant for.
func (v Value) share(s spec.SLI) Value {
	if !v.OK || !s.Share || v.V >= 0 && v.V <= 1 {
		return v
	}
	return Value{Wrong: true, Why: fmt.Sprintf(
		"got %s, want a share from 0 to 1, because the objective is in per cent: divide the query by 100, or write the objective as a number", number(v.V))}
}

// finite is the one door a computed number passes on its way out.
func finite(v float64, window time.Duration) Value {
	switch {
	case math.IsNaN(v):
		return none("NaN: 0/0, or a metric that is itself NaN: nothing to count in the last %s", window)
	case math.IsInf(v, 0):
		return none("%v: a division by zero: nothing to divide by in the last %s", v, window)
	}
	return Value{V: v, OK: true}
}

package notation

import (
	"math"
	"time"

	"go.starlark.net/starlark"
)

// Objective is the number an SLI is held against: 0.99, "99%", 0.5 or "500ms"
// for half a second. What it may be depends on the SLI: see Share and Seconds.
type Objective struct {
	Set   bool
	Value float64 // a share for "99%", seconds for a duration
	Unit  Unit
	text  starlark.Value
}

// Unit says how an objective was written.
type Unit int

// The units of an Objective.
const (
	Bare   Unit = iota // a float, or an int
	Shares             // "99%"
	Time               // "500ms"
)

// Unpack implements starlark.Unpacker.
func (o *Objective) Unpack(v starlark.Value) error {
	out := Objective{Set: true, text: v}
	switch x := v.(type) {
	case starlark.Int:
		f := float64(x.Float())
		if math.IsInf(f, 0) {
			return want(v, "a number within reason")
		}
		out.Value = f
	case starlark.Float:
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return want(v, "a finite number")
		}
		out.Value = float64(x)
	case starlark.String:
		if share, ok := parsePercent(string(x)); ok {
			out.Value, out.Unit = share, Shares
			break
		}
		d, err := time.ParseDuration(string(x))
		if err != nil || d < 0 || d > MaxDuration {
			return want(v, `a number, a share such as "99%%" or a duration such as "500ms"`)
		}
		out.Value, out.Unit = d.Seconds(), Time
	default:
		return want(v, `a number, a share such as "99%%" or a duration such as "500ms"`)
	}
	*o = out
	return nil
}

// Share is the objective on a share of requests.
func (o Objective) Share() (float64, error) {
	if i, ok := o.text.(starlark.Int); ok && o.Value != 0 {
		return 0, want(o.text, `a share such as 0.99 or "99%%": is %s so many per cent, or so many times all?`, Short(i))
	}
	if o.Unit == Time || o.Value < 0 || o.Value > 1 {
		return 0, want(o.text, `a share in 0..1 such as 0.99, or "99%%"`)
	}
	return o.Value, nil
}

// Seconds is the objective on a length of time.
func (o Objective) Seconds() (float64, error) {
	if o.Unit == Shares || o.Value <= 0 || o.Value > MaxDuration.Seconds() {
		return 0, want(o.text, `seconds such as 0.5, or a duration such as "500ms"`)
	}
	return o.Value, nil
}

// Got is how the script wrote it, for errors.
func (o Objective) Got() string { return Got(o.text) }

package sli

import (
	"math"
	"slices"
	"time"

	"chaosrunner/builtins/spec"
)

// value reads an SLI from the requests that completed in the window.
func (rs *Results) value(s spec.SLI, w Window) Value {
	if shortest := 2 * rs.period; w.Length() < shortest {
		w.Start = w.End.Add(-shortest)
	}
	t := tally{}
	rs.completed(w, t.add)
	if t.known() == 0 {
		if overdue, why := rs.fresh(w.End); overdue > 0 {
			return none("no data: %s", why)
		}
		return none("no data: no request of %s ended in the last %s", rs.name, w.Length())
	}
	if s.Kind == spec.KindTrafficSuccess || s.Kind == spec.KindProbeSuccess {
		return Value{V: float64(t.ok) / float64(t.known()), OK: true, Good: t.ok, Total: t.known(), Note: t.note()}
	}
	return Value{V: nearestRank(t.latencies, s.Q).Seconds(), OK: true, Total: t.known(), Note: t.note()}
}

// tally is what the requests of a window add up to.
type tally struct {
	ok, failed, unknown int64
	latencies           []time.Duration // of all that are known, failed ones included
}

func (t *tally) add(r result) {
	switch r.outcome {
	case ok:
		t.ok++
	case failed:
		t.failed++
	default:
		t.unknown++
		return
	}
	t.latencies = append(t.latencies, time.Duration(r.latency))
}

func (t *tally) known() int64 { return t.ok + t.failed }

func (t *tally) note() string {
	if t.unknown == 0 {
		return ""
	}
	return plural(t.unknown, "arrival") + " not sent or cut off"
}

// nearestRank is the smallest of the values that has a share of at least q at
// or below it: element ⌈q·n⌉ of n in order (the nearest-rank definition; no
// interpolation, so it is always a latency that was measured).
func nearestRank(values []time.Duration, q float64) time.Duration {
	slices.Sort(values)
	rank := int(math.Ceil(q*float64(len(values)) - 1e-9)) // 0.07·100 is 7.000000000000001
	return values[min(max(rank, 1), len(values))-1]
}

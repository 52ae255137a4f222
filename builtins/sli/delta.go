package sli

import (
	"math"
)

// increase is what a counter rose by in (start, end], Unix ms, from its raw
// samples. It differs from PromQL's increase() on purpose:
//
//   - It starts from the last sample at or before start, so that windows that
//     follow each other share out every increment exactly once, and it never
//     extrapolates: what it returns was counted by the target.
//   - A value below its predecessor is a reset: the counter is taken to have
//     restarted from zero, as in Prometheus. A process that restarts and
//     overtakes its old value between two scrapes cannot be told apart.
//   - A series that appears while its source was already being read is counted
//     from zero: at the scrape before it did not exist, so all it shows happened
//     since. (A counter with a new label value, say the first 500, appears with
//     its first increment; increase() loses that one.) A series there at the
//     source's first scrape has an unknown past and is counted from then on.
//   - A stale marker ends nothing here: over an outage the counter goes on, or
//     turns out to have been reset.
//
// seen says whether the window has a sample at all.
func (v view) increase(start, end int64) (delta float64, seen bool) {
	base, known := v.lastAt(start)
	prev := base.v
	for _, p := range v.points(start+1, end) {
		if p.stale() || math.IsNaN(p.v) || math.IsInf(p.v, 0) {
			continue
		}
		switch {
		case !known && v.born:
			delta += p.v
		case !known:
		case p.v < prev:
			delta += p.v
		default:
			delta += p.v - prev
		}
		prev, known, seen = p.v, true, true
	}
	return delta, seen
}

// counted is the summed increase of the series that match.
type counted struct {
	n       float64
	matched int // series that match at all
	seen    int // of them, with samples in the window
}

func count(views []view, w Window) counted {
	var c counted
	for _, v := range views {
		d, seen := v.increase(w.Start.UnixMilli(), w.End.UnixMilli())
		c.matched++
		if seen {
			c.seen++
			c.n += d
		}
	}
	return c
}

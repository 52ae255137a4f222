package sli

import (
	"context"
	"fmt"
	"math"

	"chaosrunner/builtins/spec"
)

// ratio is the share of Total's increments that Good has, over the window.
func (e *Evaluator) ratio(ctx context.Context, s spec.SLI, w Window) Value {
	if e.onServer(s.Total) {
		return e.Prometheus.ratio(ctx, s, e.atLeastTwo(w))
	}
	good, err := vectorSelector(s.Good)
	if err != nil {
		return none("good: %v", err)
	}
	total, err := vectorSelector(s.Total)
	if err != nil {
		return none("total: %v", err)
	}
	views := e.Store.findEach(good.LabelMatchers, total.LabelMatchers)
	g, t := count(views[0], w), count(views[1], w)
	if t.seen == 0 {
		return none("no data: %s", e.Store.whyNone(w.End, total))
	}
	v := share(g.n, t.n, w)
	if v.OK && g.matched == 0 {
		v.Note = fmt.Sprintf("no series matches good = %s: counted as 0", s.Good)
	}
	return v
}

// maxCount is where a float64 ceases to count by ones.
const maxCount = 1 << 53

// share divides counts, or says why it cannot.
func share(good, total float64, w Window) Value {
	if !(good >= 0 && good < maxCount && total >= 0 && total < maxCount) {
		return none("got counts of %v and %v, want two below 2^53: are both counters?", good, total)
	}
	g, t := int64(math.Round(good)), int64(math.Round(total))
	v := Value{V: good / total, OK: true, Good: g, Total: t}
	switch {
	case t == 0:
		return none("NaN: 0/0: no requests in the window (%s)", w.Length())
	case g > t:
		return none("good (%d) is more than total (%d): is every series of good= one of total=?", g, t)
	}
	return v
}

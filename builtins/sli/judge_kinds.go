package sli

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"chaosrunner/builtins/spec"
)

func (e *Evaluator) judgeRatio(ctx context.Context, s spec.SLI, g goal, w Window) Judgement {
	v := e.ratio(ctx, s, w)
	if !v.OK {
		return inconclusive(v)
	}
	j := proportion{good: v.Good, total: v.Total}.judge(g)
	j.Value = v
	j.Note = joinNotes(j.Note, v.Note, approxNote(v))
	return j
}

func (e *Evaluator) judgeQuantile(ctx context.Context, s spec.SLI, g goal, w Window) Judgement {
	buckets, why := e.buckets(ctx, s, w)
	if why != "" {
		return inconclusive(Value{Why: why})
	}
	v := quantileOf(s.Q, buckets, w)
	if !v.OK {
		return inconclusive(v)
	}
	v.Approx = e.onServer(s.Histogram)
	in := withinThreshold(buckets, g.bound)
	open := int64(math.Round(in.open))
	p := proportion{good: int64(math.Floor(in.n + 1e-9)), total: v.Total - open, unknown: open}
	j := p.judge(g.shareGoal(s.Q))
	v.Good = p.good
	j.Value = v
	j.Note = joinNotes(withinText(g.bound)+j.Note, in.note, approxNote(v))
	return j
}

// judge decides on a traffic or a probe by the requests sent in the window.
func (rs *Results) judge(s spec.SLI, g goal, w Window) Judgement {
	if s.Kind == spec.KindTrafficSuccess || s.Kind == spec.KindProbeSuccess {
		t := tally{}
		rs.sent(w, t.add, func(int64) { t.unknown++ })
		if t.known() == 0 {
			return inconclusive(rs.noneSent(w, t))
		}
		j := proportion{good: t.ok, total: t.known(), unknown: t.unknown}.judge(g)
		j.Value = Value{V: float64(t.ok) / float64(t.known()), OK: true, Good: t.ok, Total: t.known()}
		return j
	}
	threshold := time.Duration(math.Round(g.bound * float64(time.Second)))
	t, p, quickFailures := tally{}, proportion{}, int64(0)
	rs.sent(w, func(r result) {
		t.add(r)
		late := time.Duration(r.latency) > threshold
		switch {
		case r.outcome == unknown:
			p.unknown++
		case late:
			p.total++
		case r.outcome == ok:
			p.good++
			p.total++
		default:
			p.unknown++
			quickFailures++
		}
	}, func(sent int64) {
		// Not ended, but already too late, if the window's end is past its time.
		if time.Duration(w.End.UnixNano()-sent) > threshold {
			p.total++
		} else {
			p.unknown++
		}
	})
	if t.known() == 0 {
		return inconclusive(rs.noneSent(w, t))
	}
	j := p.judge(g.shareGoal(s.Q))
	j.Value = Value{V: nearestRank(t.latencies, s.Q).Seconds(), OK: true, Good: p.good, Total: p.total}
	j.Note = withinText(g.bound) + j.Note
	if quickFailures > 0 {
		j.Note = joinNotes(j.Note, plural(quickFailures, "request")+" failed too soon to show a latency")
	}
	return j
}

func (rs *Results) noneSent(w Window, t tally) Value {
	if t.unknown > 0 {
		return none("no data: of %s sent in the window (%s) none has an outcome", plural(t.unknown, "request of "+rs.name), w.Length())
	}
	return none("no data: no request of %s was sent in the window (%s)", rs.name, w.Length())
}

func (e *Evaluator) judgeQuery(ctx context.Context, s spec.SLI, g goal, w Window) Judgement {
	if usesWindow(s.Query) {
		v := e.query(ctx, s.Query, w).share(s)
		if !v.OK {
			return inconclusive(v)
		}
		j := Judgement{Value: v, Verdict: Broke}
		if g.met(v.V) {
			j.Verdict = Held
		}
		j.Note = fmt.Sprintf("%s over the window, want %s %s; no interval", number(v.V), g.sign(), number(g.bound))
		return j
	}
	rs, err := e.readings(ctx, s.Query, w)
	if err != nil {
		return inconclusive(none("%v", err))
	}
	return e.judgeReadings(rs, s, g, w)
}

// judgeReadings decides on a query that was read at each interval. Its value
// is the worst reading.
func (e *Evaluator) judgeReadings(rs []reading, s spec.SLI, g goal, w Window) Judgement {
	var worst, firstWrong *reading
	wrong, have, blind, last := 0, 0, time.Duration(0), w.Start
	for i := range rs {
		r := &rs[i]
		if !r.ok {
			continue
		}
		if v := (Value{V: r.v, OK: true}).share(s); !v.OK {
			return inconclusive(v)
		}
		have++
		blind, last = max(blind, r.t.Sub(last)), r.t
		if worst == nil || g.min && r.v < worst.v || !g.min && r.v > worst.v {
			worst = r
		}
		if !g.met(r.v) {
			if wrong++; firstWrong == nil {
				firstWrong = r
			}
		}
	}
	blind = max(blind, w.End.Sub(last))
	if worst == nil {
		return inconclusive(none("no data at any of %d readings: %s", len(rs), e.Store.whyNone(w.End, selectorsIn(s.Query)...)))
	}
	j := Judgement{Value: Value{V: worst.v, OK: true}, Verdict: Held}
	j.Note = fmt.Sprintf("worst of %d readings %s, want %s %s; no interval", have, number(worst.v), g.sign(), number(g.bound))
	switch {
	case wrong > 0:
		j.Verdict = Broke
		j.Note = fmt.Sprintf("%d of %d readings on the wrong side, the first %s after the window's start, the worst %s, want %s %s; no interval",
			wrong, have, ago(firstWrong.t.Sub(w.Start).Milliseconds()), number(worst.v), g.sign(), number(g.bound))
	case blind >= e.BlindAfter+e.interval():
		j.Verdict = Inconclusive
		j.Note += fmt.Sprintf("; no reading for %s", ago(blind.Milliseconds()))
	}
	return j
}

func approxNote(v Value) string {
	if v.Approx {
		return "the counts are the Prometheus server's extrapolation"
	}
	return ""
}

func withinText(threshold float64) string { return "within " + number(threshold) + "s: " }

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

package sli

import (
	"context"
	"fmt"
	"math"
	"time"

	"chaosrunner/builtins/spec"
)

// Verdicts on an objective.
const (
	Held         = "held"         // the evidence is on the right side
	Broke        = "broke"        // on the wrong side
	Inconclusive = "inconclusive" // not enough evidence to say either
)

// Judgement is what a window says of an objective.
type Judgement struct {
	Value Value `json:"value"`
	// Low and High are the 95 % interval of a share of requests, when Interval:
	// of Value itself for a ratio or a success; for a quantile or a latency, of
	// the requests within the threshold, which is held against Q. Value.Good
	// and Value.Total are that share's counts.
	Low      float64 `json:"low,omitempty"`
	High     float64 `json:"high,omitempty"`
	Interval bool    `json:"interval"`
	Unknown  int64   `json:"unknown,omitempty"` // requests of which nothing is known
	Verdict  string  `json:"verdict"`
	Note     string  `json:"note,omitempty"`
}

// judgeTimeout bounds a judgement's queries: they run after the fact, over a
// whole window, when nothing waits for them within 200 ms.
const judgeTimeout = 10 * time.Second

// Judge holds an objective against a window, requests counting by the time
// they were sent (see Results).
//
//   - Where requests are counted (ratio, success) the verdict is by the 95 %
//     Wilson interval of the share: held if all of it is on the right side,
//     broke if all of it is on the wrong one, else inconclusive. A share exactly
//     at its objective is therefore inconclusive, whatever the traffic; and so
//     is an objective of 100 % without an error, which no sample can prove.
//   - A quantile or latency objective "p99 <= T" says that at least 0.99 of the
//     requests are within T, and is judged as that share.
//   - Of a request that is not known (not sent at the cap, cut off, still in
//     flight; for a latency also one that failed within T, which did not show
//     how long an answer takes) held assumes the worst and broke the best.
//   - A query with [$window] is one figure over the window, judged by its side.
//     Any other query is read each interval: one reading on the wrong side is
//     broke, because the objective says that there is none; held needs a reading
//     on the right side at least every BlindAfter. Neither has an interval.
//   - Held also needs that no source of the SLI went unread for BlindAfter.
func (e *Evaluator) Judge(ctx context.Context, o spec.SLO, w Window) (j Judgement) {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			j = inconclusive(none("judging failed: %v", r))
		}
	}()
	goal, err := goalOf(o)
	if err == nil {
		err = Check(o.SLI)
	}
	if err != nil {
		return inconclusive(none("%v", err))
	}
	switch o.SLI.Kind {
	case spec.KindRatio:
		j = e.judgeRatio(ctx, o.SLI, goal, w)
	case spec.KindQuantile:
		j = e.judgeQuantile(ctx, o.SLI, goal, w)
	case spec.KindPromQL:
		j = e.judgeQuery(ctx, o.SLI, goal, w)
	default:
		rs, err := e.resultsOf(o.SLI)
		if err != nil {
			return inconclusive(none("%v", err))
		}
		return rs.judge(o.SLI, goal, w)
	}
	return e.notBlind(o.SLI, j, w)
}

func inconclusive(v Value) Judgement {
	return Judgement{Value: v, Verdict: Inconclusive, Note: v.Why}
}

// goal is an objective's side: at least, or at most, bound.
type goal struct {
	min   bool
	bound float64
}

func goalOf(o spec.SLO) (goal, error) {
	switch {
	case (o.Min == nil) == (o.Max == nil):
		return goal{}, fmt.Errorf("objective %s: want exactly one of min and max", o.Name)
	case o.Min != nil:
		return goal{true, *o.Min}, nil
	}
	return goal{false, *o.Max}, nil
}

func (g goal) met(v float64) bool { return g.min && v >= g.bound || !g.min && v <= g.bound }

func (g goal) sign() string {
	if g.min {
		return "≥"
	}
	return "≤"
}

// shareGoal turns an objective on a quantile into one on the share of requests
// within its bound: p99 <= T is "at least 0.99 within T"; p99 >= T is "at most
// 0.99 within T".
func (g goal) shareGoal(q float64) goal { return goal{!g.min, q} }

// proportion is a share of requests, as far as it is known.
type proportion struct {
	good, total int64 // of the known
	unknown     int64 // not in total
}

// judge decides on a proportion.
func (p proportion) judge(g goal) Judgement {
	all := p.total + p.unknown
	j := Judgement{Interval: true, Unknown: p.unknown, Verdict: Inconclusive}
	j.Low, _ = Wilson(p.good, all)
	_, j.High = Wilson(p.good+p.unknown, all)
	switch {
	case all == 0:
	case g.min && j.Low >= g.bound, !g.min && j.High <= g.bound:
		j.Verdict = Held
	case g.min && j.High < g.bound, !g.min && j.Low > g.bound:
		j.Verdict = Broke
	}
	j.Note = p.note(g, j)
	return j
}

func (p proportion) note(g goal, j Judgement) string {
	s := fmt.Sprintf("%d of %d (%s to %s at 95 %%), want %s %s",
		p.good, p.total, percent(j.Low), percent(j.High), g.sign(), percent(g.bound))
	if p.unknown > 0 {
		s += fmt.Sprintf("; %s not known", plural(p.unknown, "request"))
	}
	if j.Verdict != Inconclusive || p.unknown > 0 || p.total == 0 {
		return s
	}
	clean, want := p.good == p.total, g.bound
	if !g.min {
		clean, want = p.good == 0, 1-g.bound
	}
	switch need := NeedFor(want); {
	case !clean:
	case need == math.MaxInt64:
		s += "; no number of requests proves that"
	default:
		s += fmt.Sprintf("; that takes %d requests", need)
	}
	return s
}

// notBlind takes back a verdict of held where a source went unread for too long.
func (e *Evaluator) notBlind(s spec.SLI, j Judgement, w Window) Judgement {
	if e.Prometheus != nil {
		return j // its gaps are its own; Fresh watches it while the run lasts
	}
	queries := []string{s.Good, s.Total, s.Histogram, s.Query}
	for _, q := range queries {
		gap, source := e.Store.longestGap(selectorsIn(q), w)
		if gap < e.BlindAfter+e.Interval {
			continue
		}
		if j.Verdict == Held {
			j.Verdict = Inconclusive
		}
		j.Note = joinNotes(j.Note, fmt.Sprintf("%s went unread for %s", source, ago(gap.Milliseconds())))
		return j
	}
	return j
}

package supervise

import (
	"context"
	"fmt"
	"time"

	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
)

// stable is how long an objective must hold without a break to have recovered.
const stable = 3 * time.Second

// recover watches the objectives hold again, times it, and judges the run's
// windows. It is left out where the run failed or was interrupted: then the
// operator wants the terminal back.
func (r *run) recover() {
	r.mu.Lock()
	first, last := r.first, r.last
	quick := r.stopping != nil && r.stopping.Ending != report.Aborted
	r.mu.Unlock()
	r.audit.over(quick || first.IsZero())
	if first.IsZero() {
		return
	}
	// Judged last: an answer to what was sent under the fault may come later.
	defer r.judge("fault", sli.Window{Start: first, End: last}, func(s spec.SLO) bool { return s.When == spec.Always })
	if quick {
		return
	}
	r.journal.Record(journal.Phase{Name: journal.PhaseRecovery})
	recovered := r.watchRecovery(last)
	select {
	case <-r.hurry:
		return
	default:
	}
	from := last
	for _, s := range r.exp.SLOs {
		at, ok := recovered[s.Name]
		event := journal.Recovery{SLO: s.Name, Limit: s.RecoversWithin.Seconds()}
		if ok {
			seconds := max(0, at.Sub(last).Seconds())
			event.Seconds = &seconds
			if at.After(from) {
				from = at
			}
		}
		r.journal.Record(event)
	}
	r.judge(journal.PhaseRecovery, sli.Window{Start: from, End: r.now()}, func(spec.SLO) bool { return true })
	r.audit.settle(last)
}

// watchRecovery returns when each objective began to hold for good. It stays
// until all have held for the baseline's length, or until the longest
// recovers_within without it.
func (r *run) watchRecovery(last time.Time) map[string]time.Time {
	var limit time.Duration
	for _, s := range r.exp.SLOs {
		limit = max(limit, s.RecoversWithin)
	}
	held := map[string]time.Time{}
	over := make(chan map[string]time.Time, 1)
	r.watch.listen(func(now time.Time) {
		window := r.watch.window(now)
		if window.Start.Before(last) {
			window.Start = last // what was sent under the fault is not the recovery's
		}
		_ = r.lookAtSLOs(now, window, held) // no news is not good news
		done := map[string]time.Time{}
		for _, s := range r.exp.SLOs {
			if at, ok := held[s.Name]; ok && now.Sub(at) >= stable && at.Sub(last) <= s.RecoversWithin {
				done[s.Name] = at
			}
		}
		// A late recovery is given a window too that can be judged.
		since := last
		for _, at := range done {
			if at.After(since) {
				since = at
			}
		}
		whole := min(r.exp.SteadyState.Baseline, limit)
		all := len(done) == len(r.exp.SLOs)
		if all && now.Sub(since) >= whole || !all && now.Sub(last) >= limit+stable || now.Sub(last) >= limit+stable+whole {
			select {
			case over <- done:
			default:
			}
		}
	})
	defer r.watch.listen(nil)
	select {
	case done := <-over:
		return done
	case <-r.hurry:
		return nil
	}
}

// lookAtSLOs samples every objective over a window and notes since when each
// one holds without a break. A window without data breaks it: no news is not
// good news. The error names an objective that can never be told.
func (r *run) lookAtSLOs(now time.Time, window sli.Window, held map[string]time.Time) (wrong error) {
	ctx, cancel := context.WithTimeout(context.Background(), tickLimit)
	defer cancel()
	for _, s := range r.exp.SLOs {
		v := r.sources.value(ctx, s.SLI, window)
		bad := v.OK && !meets(s, v.V)
		if v.Wrong {
			wrong = fmt.Errorf("slo %s, at %s: %s", s.Name, s.Pos, v.Why)
		}
		r.journal.Record(sampleOf(s.Name, v, bad))
		switch at, holds := held[s.Name]; {
		case !v.OK || bad:
			delete(held, s.Name)
		case !holds || at.IsZero():
			held[s.Name] = now
		}
	}
	return wrong
}

func meets(s spec.SLO, v float64) bool {
	return (s.Min == nil || v >= *s.Min) && (s.Max == nil || v <= *s.Max)
}

// judge records every objective over a window; counts says which of them the
// verdict rests on.
func (r *run) judge(name string, window sli.Window, counts func(spec.SLO) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, s := range r.exp.SLOs {
		j := r.settled(ctx, s, window)
		event := journal.Judged{
			SLO: s.Name, Window: name, From: window.Start, To: window.End,
			Count: j.Value.Total, Verdict: j.Verdict, Note: j.Note,
		}
		if j.Value.OK {
			event.Value = &j.Value.V
		}
		if j.Interval {
			event.Low, event.High = &j.Low, &j.High
		}
		if j.Value.Total > 0 {
			event.Bad = j.Value.Total - j.Value.Good
		}
		if name == journal.PhaseBaseline {
			event.Verdict = "" // the gate has judged it, reading by reading
		}
		if !counts(s) {
			event.Verdict, event.Note = "", `judged at the edges only (when = "edges")`
		}
		r.journal.Record(event)
	}
}

// settled judges an objective once the requests sent in the window have been
// answered, for a second at most: what is not known counts against it.
func (r *run) settled(ctx context.Context, s spec.SLO, window sli.Window) sli.Judgement {
	for until := time.Now().Add(time.Second); ; time.Sleep(50 * time.Millisecond) {
		j := r.sources.judge(ctx, s, window)
		if j.Unknown == 0 || time.Now().After(until) {
			return j
		}
	}
}

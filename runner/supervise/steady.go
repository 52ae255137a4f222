package supervise

import (
	"context"
	"fmt"
	"strings"
	"time"

	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
)

// steady waits until every objective has held for the whole baseline, under
// traffic. Without that there is nothing to compare with, and nothing may be
// injected.
func (r *run) steady() bool {
	if r.ending() {
		return false
	}
	want := r.exp.SteadyState
	r.journal.Record(journal.Phase{Name: journal.PhaseBaseline, Note: fmt.Sprintf(
		"every objective must hold for %s, within %s", report.Duration(want.Baseline), report.Duration(want.Within))})
	began := r.now()
	held := map[string]time.Time{}
	over := make(chan error, 1)
	r.watch.listen(func(now time.Time) {
		window := r.watch.window(now)
		if window.Start.Before(began) {
			window.Start = began
		}
		wrong := r.lookAtSLOs(now, window, held)
		all := len(held) == len(r.exp.SLOs)
		for _, at := range held {
			all = all && now.Sub(at) >= want.Baseline
		}
		var err error
		switch {
		case wrong != nil: // no time will mend it
			err = fmt.Errorf("nothing was injected: %w", wrong)
		case all:
		case now.Sub(began) >= want.Within:
			err = r.unsteady(held, window)
		default:
			return
		}
		select {
		case over <- err:
		default:
		}
	})
	defer r.watch.listen(nil)
	select {
	case err := <-over:
		now := r.now()
		r.judge(journal.PhaseBaseline, sli.Window{Start: now.Add(-want.Baseline), End: now}, func(spec.SLO) bool { return true })
		if err != nil {
			r.finish(journal.Stopping{Ending: report.Refused, Reason: err.Error()})
			return false
		}
		return !r.ending()
	case <-r.ctx.Done():
		return false
	}
}

func (r *run) unsteady(held map[string]time.Time, window sli.Window) error {
	ctx, cancel := context.WithTimeout(context.Background(), tickLimit)
	defer cancel()
	var parts []string
	for _, s := range r.exp.SLOs {
		if at, ok := held[s.Name]; ok {
			if short := r.now().Sub(at); short < r.exp.SteadyState.Baseline {
				parts = append(parts, fmt.Sprintf("%s holds only for %.1fs", s.Name, short.Seconds()))
			}
			continue
		}
		v := r.sources.value(ctx, s.SLI, window)
		if !v.OK {
			parts = append(parts, fmt.Sprintf("%s: %s", s.Name, v.Why))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %s, want %s", s.Name, report.Number(&v.V), report.Objective(s.Min, s.Max)))
	}
	return fmt.Errorf("no steady state within %s, so nothing was injected: %s", r.exp.SteadyState.Within, strings.Join(parts, "; "))
}

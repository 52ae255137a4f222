package sli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/spec"
)

// BenchmarkRound is what the supervisor does five times a second for an
// endpoint of 500 series: a scrape, and one evaluation of each kind.
func BenchmarkRound(b *testing.B) {
	var body strings.Builder
	for i := range 500 {
		fmt.Fprintf(&body, "req_total{path=\"/%d\",code=\"200\"} 5\n", i)
	}
	st := NewStore(Limits{Samples: 1 << 40})
	e := over(st)
	n := 0
	round := func(f func(w Window)) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				f(Window{after(n - 10), after(n)})
			}
		}
	}
	ingest := func(Window) {
		n++
		if _, err := st.Ingest("api", after(n), "", strings.NewReader(body.String()), nil); err != nil {
			b.Fatal(err)
		}
	}
	for range 3000 { // ten minutes
		ingest(Window{})
	}
	b.Run("ingest", round(ingest))
	b.Run("ratio", round(func(w Window) { e.Value(ctx, ratioOf("req_total", "req_total"), w) }))
	b.Run("promql", round(func(w Window) { e.Value(ctx, promqlOf("sum(rate(req_total[$window]))"), w) }))
	b.Run("fresh", round(func(w Window) { e.Fresh(ctx, promqlOf("sum(rate(req_total[$window]))"), w.End) }))

	rs := newResults("t", time.Millisecond, 1<<40, nil)
	fill(rs, 600_000, func(int) (time.Duration, outcome) { return time.Millisecond, ok })
	re := resultsEvaluator(rs)
	end := t0.Add(600_000 * 10 * time.Millisecond)
	b.Run("latency of 600,000 results", round(func(Window) {
		re.Value(ctx, spec.SLI{Kind: spec.KindTrafficLatency, Of: "t", Q: 0.99}, Window{end.Add(-2 * time.Second), end})
	}))
}

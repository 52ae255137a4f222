package sli

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/spec"
)

// t0 is when everything in the tests begins.
var t0 = time.UnixMilli(1_700_000_000_000)

const tick = 200 * time.Millisecond

// after is the time n ticks after t0.
func after(n int) time.Time { return t0.Add(time.Duration(n) * tick) }

func span(from, to int) Window { return Window{after(from), after(to)} }

// scrape ingests a text exposition and fails the test if that fails.
func scrape(t testing.TB, st *Store, source string, at time.Time, lines ...string) {
	t.Helper()
	if _, err := st.Ingest(source, at, "text/plain", strings.NewReader(strings.Join(lines, "\n")+"\n"), map[string]string{"instance": source}); err != nil {
		t.Fatal(err)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(1, math.Abs(b)) }

func wantValue(t *testing.T, v Value, want float64) {
	t.Helper()
	if !v.OK || !near(v.V, want) {
		t.Fatalf("got %+v, want %v", v, want)
	}
}

func wantNone(t *testing.T, v Value, why ...string) {
	t.Helper()
	if v.OK || v.V != 0 {
		t.Fatalf("got %+v, want no value", v)
	}
	for _, s := range why {
		if !strings.Contains(v.Why, s) {
			t.Errorf("got why %q, want it to say %q", v.Why, s)
		}
	}
}

func ratioOf(good, total string) spec.SLI {
	return spec.SLI{Kind: spec.KindRatio, Good: good, Total: total}
}

func promqlOf(q string) spec.SLI { return spec.SLI{Kind: spec.KindPromQL, Query: q} }

func atLeast(s spec.SLI, v float64) spec.SLO { return spec.SLO{Name: "o", SLI: s, Min: &v} }
func atMost(s spec.SLI, v float64) spec.SLO  { return spec.SLO{Name: "o", SLI: s, Max: &v} }

func over(st *Store) *Evaluator { return NewEvaluator(Config{Store: st}) }

var ctx = context.Background()

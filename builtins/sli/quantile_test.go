package sli

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"chaosrunner/builtins/spec"
)

func quantileSLI(q float64) spec.SLI {
	return spec.SLI{Kind: spec.KindQuantile, Histogram: "d_seconds_bucket", Q: q}
}

// histogramLines is a text histogram of the values.
func histogramLines(labels string, values []float64, bounds ...float64) []string {
	out := []string{"# TYPE d_seconds histogram"}
	n := 0
	for _, b := range append(bounds, math.Inf(1)) {
		n = 0
		for _, v := range values {
			if v <= b {
				n++
			}
		}
		out = append(out, fmt.Sprintf(`d_seconds_bucket{%sle="%v"} %d`, labels, floatText(b), n))
	}
	return append(out, fmt.Sprintf("d_seconds_sum{%s} 1", labels), fmt.Sprintf("d_seconds_count{%s} %d", labels, n))
}

// The value is promql's own histogram_quantile of the same increments, and lies
// in the bucket that holds the exact quantile.
func TestQuantileAgainstPromQLAndExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	bounds := []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5}
	for range 20 {
		st := NewStore(Limits{})
		var values []float64
		for i := range 6 {
			if i > 0 {
				for range 1 + rng.IntN(50) {
					values = append(values, rng.ExpFloat64()*0.2)
				}
			}
			scrape(t, st, "api", after(i), histogramLines(`path="/",`, values, bounds...)...)
		}
		q := rng.Float64()*0.98 + 0.01
		v := over(st).Value(ctx, quantileSLI(q), span(0, 5))
		// From an empty histogram on, the raw buckets are the increments.
		wantValue(t, v, over(st).Value(ctx, promqlOf(fmt.Sprintf("histogram_quantile(%v, d_seconds_bucket)", q)), span(0, 5)).V)
		if v.Total != int64(len(values)) {
			t.Errorf("got %d observations, want %d", v.Total, len(values))
		}
		slices.Sort(values)
		exact := values[int(math.Ceil(q*float64(len(values))))-1]
		i, _ := slices.BinarySearch(bounds, exact)
		low, high := 0.0, math.Inf(1)
		if i > 0 {
			low = bounds[i-1]
		}
		if i < len(bounds) {
			high = bounds[i]
		}
		if v.AtLeast {
			low = bounds[len(bounds)-1]
		}
		if v.V < low || v.V > high {
			t.Errorf("q=%v: got %v, want it between %v and %v, around the exact %v", q, v.V, low, high, exact)
		}
	}
}

func TestQuantileAboveTheLastBucket(t *testing.T) {
	st := NewStore(Limits{})
	scrape(t, st, "api", after(0), histogramLines("", nil, 1, 2)...)
	scrape(t, st, "api", after(1), histogramLines("", []float64{5, 6, 7}, 1, 2)...)
	v := over(st).Value(ctx, quantileSLI(0.5), span(0, 1))
	wantValue(t, v, 2)
	if !v.AtLeast || !strings.Contains(v.Note, "above the last bucket boundary, 2s") {
		t.Errorf("got %+v, want it to say that 2 s is a floor", v)
	}
}

func TestQuantileWithoutValue(t *testing.T) {
	st := NewStore(Limits{})
	wantNone(t, over(st).Value(ctx, quantileSLI(0.5), span(0, 1)), "no series matches")
	scrape(t, st, "api", after(0), histogramLines("", []float64{1}, 1, 2)...)
	scrape(t, st, "api", after(1), histogramLines("", []float64{1}, 1, 2)...)
	wantNone(t, over(st).Value(ctx, quantileSLI(0.5), span(0, 1)), "NaN: 0 observations")
	scrape(t, st, "two", after(1), histogramLines("", []float64{1}, 1, 3)...)
	scrape(t, st, "two", after(2), histogramLines("", []float64{1}, 1, 3)...)
	wantNone(t, over(st).Value(ctx, quantileSLI(0.5), span(0, 2)), "different buckets")
	scrape(t, st, "three", after(1), `e_seconds_bucket{le="1"} 1`)
	wantNone(t, over(st).Value(ctx, spec.SLI{Kind: spec.KindQuantile, Histogram: "e_seconds_bucket", Q: 0.5}, span(0, 2)), "got 1 buckets, want several")
}

func TestWithinThreshold(t *testing.T) {
	buckets := promql.Buckets{{UpperBound: 1, Count: 10}, {UpperBound: 2, Count: 30}, {UpperBound: math.Inf(1), Count: 40}}
	for _, c := range []struct {
		threshold, n, open float64
		note               string
	}{
		{1, 10, 0, ""},
		{2, 30, 0, ""},
		{1.5, 20, 0, "1.5s is no bucket boundary: interpolated between 1s and 2s"},
		{0.5, 5, 0, "interpolated between 0s and 1s"},
		{3, 30, 10, "3s lies above the last bucket boundary, 2s: give the histogram a bucket at 3s"},
	} {
		got := withinThreshold(buckets, c.threshold)
		if got.n != c.n || got.open != c.open || !strings.Contains(got.note, c.note) || (c.note == "") != (got.note == "") {
			t.Errorf("%v: got %+v, want %+v", c.threshold, got, c)
		}
	}
}

func TestNearestRank(t *testing.T) {
	values := make([]time.Duration, 100)
	for i := range values {
		values[i] = time.Duration(100 - i)
	}
	for q, want := range map[float64]time.Duration{0.99: 99, 0.07: 7, 0.5: 50, 0.001: 1, 0.999: 100, 0.991: 100} {
		if got := nearestRank(values, q); got != want {
			t.Errorf("%v: got %d, want %d", q, got, want)
		}
	}
}

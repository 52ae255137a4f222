package sli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"

	"chaosrunner/builtins/spec"
)

// quantile is histogram_quantile over the increments of the buckets.
func (e *Evaluator) quantile(ctx context.Context, s spec.SLI, w Window) Value {
	buckets, why := e.buckets(ctx, s, w)
	if why != "" {
		return Value{Why: why}
	}
	return quantileOf(s.Q, buckets, w)
}

// buckets returns the window's observations, cumulative and by ascending
// bound, or why there are none.
func (e *Evaluator) buckets(ctx context.Context, s spec.SLI, w Window) (promql.Buckets, string) {
	if e.onServer(s.Histogram) {
		return e.Prometheus.buckets(ctx, s, e.atLeastTwo(w))
	}
	vs, err := vectorSelector(s.Histogram)
	if err != nil {
		return nil, err.Error()
	}
	counts, layouts, seen := map[float64]float64{}, map[string][]string{}, false
	for _, v := range e.Store.find(vs.LabelMatchers) {
		le, err := strconv.ParseFloat(v.labels.Get(model.BucketLabel), 64)
		if err != nil || math.IsNaN(le) {
			continue
		}
		d, in := v.increase(w.Start.UnixMilli(), w.End.UnixMilli())
		if !in {
			continue
		}
		seen = true
		counts[le] += d
		key := v.labels.MatchLabels(false, model.BucketLabel).String()
		layouts[key] = append(layouts[key], v.labels.Get(model.BucketLabel))
	}
	if !seen {
		return nil, "no data: " + e.Store.whyNone(w.End, vs)
	}
	if why := sameLayout(layouts); why != "" {
		return nil, why
	}
	return sortedBuckets(counts), ""
}

func sortedBuckets(counts map[float64]float64) promql.Buckets {
	out := make(promql.Buckets, 0, len(counts))
	for le, n := range counts {
		out = append(out, promql.Bucket{UpperBound: le, Count: n})
	}
	slices.SortFunc(out, func(a, b promql.Bucket) int { return int(math.Copysign(1, a.UpperBound-b.UpperBound)) })
	return out
}

// sameLayout refuses to add up histograms whose buckets differ: the sum would
// not be cumulative, and histogram_quantile would quietly bend it until it is.
func sameLayout(layouts map[string][]string) string {
	first := ""
	for _, key := range sortedKeys(layouts) {
		slices.Sort(layouts[key])
		if layout := strings.Join(layouts[key], " "); first == "" {
			first = layout
		} else if layout != first {
			return "the histograms that match have different buckets: select one of them with a matcher"
		}
	}
	return ""
}

// quantileOf interpolates as histogram_quantile does.
func quantileOf(q float64, buckets promql.Buckets, w Window) Value {
	if len(buckets) < 2 || !math.IsInf(buckets[len(buckets)-1].UpperBound, 1) {
		return none("got %d buckets, want several and the last le=\"+Inf\"", len(buckets))
	}
	total := buckets[len(buckets)-1].Count
	if !(total < maxCount) {
		return none("got %v observations, want a count below 2^53", total)
	}
	if math.Round(total) <= 0 {
		return none("NaN: 0 observations in the window (%s)", w.Length())
	}
	x, _, _, _, _, _ := promql.BucketQuantile(q, slices.Clone(buckets)) // it reorders what it is given
	v := finite(x, w.Length())
	v.Total = int64(math.Round(total))
	if top := buckets[len(buckets)-2]; v.OK && top.Count < q*total {
		v.AtLeast = true
		v.Note = fmt.Sprintf("lies above the last bucket boundary, %gs", top.UpperBound)
	}
	return v
}

// within is how many observations are known to be at most threshold.
type within struct {
	n    float64 // at most the threshold; interpolated where it is no boundary
	open float64 // above the last boundary and below the threshold's side: unknown
	note string
}

// withinThreshold counts the observations up to a threshold. At a boundary the
// count is exact; between two it is interpolated as histogram_quantile does,
// linearly; above the last one, what lies there may be on either side.
func withinThreshold(buckets promql.Buckets, threshold float64) within {
	prev := promql.Bucket{}
	if buckets[0].UpperBound <= 0 {
		prev.UpperBound = math.Inf(-1) // nothing to interpolate from
	}
	for _, b := range buckets {
		switch {
		case b.UpperBound == threshold:
			return within{n: b.Count}
		case b.UpperBound < threshold:
			prev = b
			continue
		case math.IsInf(b.UpperBound, 1):
			return within{n: prev.Count, open: b.Count - prev.Count, note: fmt.Sprintf(
				"%gs lies above the last bucket boundary, %gs: give the histogram a bucket at %gs", threshold, prev.UpperBound, threshold)}
		}
		w := within{n: prev.Count, note: fmt.Sprintf(
			"%gs is no bucket boundary: interpolated between %gs and %gs", threshold, max(0, prev.UpperBound), b.UpperBound)}
		if !math.IsInf(prev.UpperBound, -1) {
			w.n += (b.Count - prev.Count) * (threshold - prev.UpperBound) / (b.UpperBound - prev.UpperBound)
		}
		return w
	}
	return within{n: prev.Count}
}

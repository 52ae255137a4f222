package sli

import (
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

// totals are the counters that the requests of one traffic add up to, in the
// shape of Prometheus series.
type totals struct {
	bounds  []float64 // upper bounds of the buckets, seconds, ascending, +Inf left out
	buckets []int64   // not cumulative; one more than bounds
	count   int64
	sum     time.Duration
	byCode  map[codeOutcome]int64
}

type codeOutcome struct {
	code    uint16
	outcome outcome
}

// newTotals takes the objectives' thresholds as boundaries beside the usual
// ones: a threshold that is a boundary is judged exactly.
func newTotals(thresholds []float64) totals {
	bounds := slices.Clone(prometheus.DefBuckets)
	for _, t := range thresholds {
		if t > 0 {
			bounds = append(bounds, t)
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	return totals{bounds: bounds, buckets: make([]int64, len(bounds)+1), byCode: map[codeOutcome]int64{}}
}

func (t *totals) add(r result) {
	t.byCode[codeOutcome{r.code, r.outcome}]++
	if r.outcome == unknown {
		return
	}
	d := time.Duration(r.latency)
	t.buckets[sort.SearchFloat64s(t.bounds, d.Seconds())]++
	t.count++
	t.sum += d
}

// samples are the series of the traffic or probe ("kind") called name.
func (rs *Results) samples(kind string) []Sample {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	t := &rs.totals
	prefix := "runner_" + kind
	out := make([]Sample, 0, len(t.byCode)+len(t.buckets)+3)
	for k, n := range t.byCode {
		out = append(out, Sample{prefix + "_requests_total", map[string]string{
			kind: rs.name, "code": strconv.Itoa(int(k.code)), "outcome": k.outcome.String(),
		}, float64(n)})
	}
	cumulative := int64(0)
	for i, n := range t.buckets {
		cumulative += n
		le := "+Inf"
		if i < len(t.bounds) {
			le = floatText(t.bounds[i])
		}
		out = append(out, Sample{prefix + "_duration_seconds_bucket", map[string]string{kind: rs.name, "le": le}, float64(cumulative)})
	}
	own := map[string]string{kind: rs.name}
	return append(out,
		Sample{prefix + "_duration_seconds_sum", own, t.sum.Seconds()},
		Sample{prefix + "_duration_seconds_count", own, float64(t.count)},
		Sample{prefix + "_in_flight", own, float64(len(rs.flight))},
	)
}

// describe gives the series of a traffic or probe their types.
func (st *Store) describe(kind string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	p := "runner_" + kind
	st.families[p+"_requests_total"] = family{model.MetricTypeCounter, "Arrivals by what became of them; unknown was not sent, or cut off."}
	st.families[p+"_duration_seconds"] = family{model.MetricTypeHistogram, "Time to the last byte, or to the error."}
	st.families[p+"_in_flight"] = family{model.MetricTypeGauge, "Requests on their way."}
}

package sli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/spec"
)

func wantFresh(t *testing.T, e *Evaluator, s spec.SLI, now time.Time, want time.Duration, why string) {
	t.Helper()
	age, got := e.Fresh(ctx, s, now)
	if age != want || !strings.Contains(got, why) || (why == "") != (got == "") {
		t.Errorf("%+v: got %s, %q; want %s, %q", s, age, got, want, why)
	}
}

// Blindness belongs to a condition: a source that it does not read does not
// matter to it, and each that it reads does.
func TestFreshByCondition(t *testing.T) {
	st := NewStore(Limits{})
	e := over(st)
	for i := range 10 {
		scrape(t, st, "api", after(i), fmt.Sprint("req_total ", i), fmt.Sprint("both ", i), "d_seconds_bucket{le=\"+Inf\"} 1")
		if i < 5 {
			scrape(t, st, "catalog", after(i), fmt.Sprint("items ", i), fmt.Sprint("both ", i))
		} else {
			st.Fail("catalog", after(i), errors.New("connection refused"))
		}
	}
	now := after(9)
	dead := "scrape of catalog fails since 800ms: connection refused"
	wantFresh(t, e, ratioOf("req_total", "req_total"), now, 0, "")
	wantFresh(t, e, promqlOf(`sum(rate(both{instance="api"}[$window]))`), now, 0, "")
	wantFresh(t, e, spec.SLI{Kind: spec.KindQuantile, Histogram: "d_seconds_bucket", Q: 0.5}, now, 0, "")
	wantFresh(t, e, promqlOf("items"), now, 4*tick, dead)
	wantFresh(t, e, promqlOf("sum(both)"), now, 4*tick, dead)
	wantFresh(t, e, ratioOf("items", "req_total"), now, 4*tick, dead)
	wantFresh(t, e, promqlOf(`req_total / on() group_left() {__name__=~"ite.*"}`), now, 4*tick, dead)
	wantFresh(t, e, promqlOf("gone"), now, Never, "no series matches gone; scraped: api, catalog; "+dead)
	// A counter of errors that does not exist yet is no blindness.
	wantFresh(t, e, promqlOf("sum(req_total) - (sum(gone) or vector(0))"), now, 0, "")
	// When scraping itself stops, everything ages.
	wantFresh(t, e, ratioOf("req_total", "req_total"), after(20), 10*tick, "newest sample of")
}

// A healthy source that drops a series is not stale; Value says what is missing.
func TestFreshOfASeriesThatIsGone(t *testing.T) {
	st := NewStore(Limits{})
	counter(t, st, "x", 1, -2, -2)
	wantFresh(t, over(st), promqlOf("x"), after(2), 0, "")
	wantNone(t, over(st).Value(ctx, promqlOf("x"), span(1, 2)), "no data")
}

// An exporter that hands out the same old timestamp is as old as that.
func TestFreshOfOldTimestamps(t *testing.T) {
	st := NewStore(Limits{})
	for i := range 10 {
		scrape(t, st, "x", after(i), fmt.Sprintf("x 1 %d", after(0).UnixMilli()))
	}
	wantFresh(t, over(st), promqlOf("x"), after(9), 8*tick, "newest sample of")
}

// Traffic of one request in five seconds is not stale between two of them.
func TestFreshOfResults(t *testing.T) {
	rs := newResults("slow", 5*time.Second, 100, nil)
	e := NewEvaluator(Config{Probes: map[string]*Results{"slow": rs}})
	s := spec.SLI{Kind: spec.KindProbeSuccess, Of: "slow"}
	wantFresh(t, e, s, t0, Never, "slow has not been started")
	rs.started = t0.UnixNano()
	wantFresh(t, e, s, t0.Add(4*time.Second), 0, "")
	rs.begin(0, t0.UnixNano())
	wantFresh(t, e, s, t0.Add(7*time.Second), 2*time.Second, "no request of slow has ended yet, 7s after its start; 1 in flight")
	rs.record(result{sent: t0.UnixNano(), latency: int64(time.Second), outcome: failed}, "x")
	wantFresh(t, e, s, t0.Add(6*time.Second), 0, "")
	// An arrival that was not sent is no data.
	rs.record(result{sent: t0.Add(8 * time.Second).UnixNano(), seq: noSeq, outcome: unknown}, "x")
	wantFresh(t, e, s, t0.Add(9*time.Second), 3*time.Second, "no request of slow ended since 8s; 0 in flight")
	wantFresh(t, e, spec.SLI{Kind: spec.KindProbeSuccess, Of: "other"}, t0, Never, `no probe is called "other"`)
}

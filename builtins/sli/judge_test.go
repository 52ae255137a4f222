package sli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/spec"
)

func wantJudged(t *testing.T, j Judgement, verdict string, note ...string) {
	t.Helper()
	if j.Verdict != verdict {
		t.Errorf("got %+v, want %s", j, verdict)
	}
	for _, s := range note {
		if !strings.Contains(j.Note, s) {
			t.Errorf("got note %q, want it to say %q", j.Note, s)
		}
	}
}

func TestProportion(t *testing.T) {
	min := func(v float64) goal { return goal{true, v} }
	max := func(v float64) goal { return goal{false, v} }
	for name, c := range map[string]struct {
		p    proportion
		g    goal
		want string
		note string
	}{
		"plainly held":               {proportion{9999, 10000, 0}, min(0.99), Held, "9999 of 10000"},
		"plainly broke":              {proportion{50, 100, 0}, min(0.99), Broke, "want ≥ 99 %"},
		"exactly at it":              {proportion{99, 100, 0}, min(0.99), Inconclusive, ""},
		"exactly at it, more":        {proportion{99e6, 100e6, 0}, min(0.99), Inconclusive, ""},
		"1800 prove 99.78 %":         {proportion{1800, 1800, 0}, min(0.9978), Held, ""},
		"1800 do not prove 99.8 %":   {proportion{1800, 1800, 0}, min(0.998), Inconclusive, "that takes 1917 requests"},
		"as many as needed":          {proportion{381, 381, 0}, min(0.99), Held, ""},
		"one fewer":                  {proportion{380, 380, 0}, min(0.99), Inconclusive, "that takes 381 requests"},
		"100 % is never proved":      {proportion{1e9, 1e9, 0}, min(1), Inconclusive, "no number of requests proves that"},
		"100 % is disproved by one":  {proportion{1e9 - 1, 1e9, 0}, min(1), Broke, ""},
		"0 % is always held":         {proportion{0, 1, 0}, min(0), Held, ""},
		"no requests":                {proportion{0, 0, 0}, min(0), Inconclusive, ""},
		"errors held":                {proportion{0, 400, 0}, max(0.01), Held, "want ≤ 1 %"},
		"errors too few to say":      {proportion{0, 100, 0}, max(0.01), Inconclusive, "that takes 381 requests"},
		"errors broke":               {proportion{20, 100, 0}, max(0.01), Broke, ""},
		"no errors at all":           {proportion{0, 1e9, 0}, max(0), Inconclusive, "no number"},
		"unknown spoil held":         {proportion{10000, 10000, 200}, min(0.99), Inconclusive, "200 requests not known"},
		"unknown that do not matter": {proportion{10000, 10000, 5}, min(0.99), Held, "5 requests not known"},
		"unknown spoil broke":        {proportion{97, 100, 900}, min(0.99), Inconclusive, ""},
		"broke whatever they are":    {proportion{0, 100, 100}, min(0.99), Broke, ""},
	} {
		t.Run(name, func(t *testing.T) { wantJudged(t, c.p.judge(c.g), c.want, c.note) })
	}
}

func TestJudgeRatio(t *testing.T) {
	st := NewStore(Limits{})
	for i := range 51 {
		scrape(t, st, "api", after(i), fmt.Sprintf(`req_total{code="200"} %d`, 40*i), fmt.Sprintf(`req_total{code="500"} %d`, min(i, 5)))
	}
	e := over(st)
	s := ratioOf(`req_total{code!~"5.."}`, "req_total")
	j := e.Judge(ctx, atLeast(s, 0.99), span(10, 50))
	wantJudged(t, j, Held, "1600 of 1600 (99.76 % to 100 % at 95 %), want ≥ 99 %")
	if !j.Interval || j.Value.Good != 1600 || j.Value.V != 1 {
		t.Errorf("got %+v", j)
	}
	wantJudged(t, e.Judge(ctx, atLeast(s, 0.999), span(10, 50)), Inconclusive, "that takes 3838 requests")
	wantJudged(t, e.Judge(ctx, atLeast(s, 0.99), span(0, 5)), Broke, "200 of 205")
	wantJudged(t, e.Judge(ctx, atLeast(s, 0.99), span(60, 70)), Inconclusive, "no samples of req_total in the window")
	wantJudged(t, e.Judge(ctx, spec.SLO{Name: "x", SLI: s}, span(0, 5)), Inconclusive, "exactly one of min and max")
	wantJudged(t, e.Judge(ctx, atLeast(ratioOf("sum(x)", "x"), 1), span(0, 5)), Inconclusive, "want only the counter's selector")
}

// Held needs eyes that were open; broke does not.
func TestJudgeWhatWasNotSeen(t *testing.T) {
	for name, c := range map[string]struct {
		fails  func(i int) bool
		errors int
		min    float64
		want   string
	}{
		"a blink":           {func(i int) bool { return i > 40 && i < 50 }, 0, 0.99, Held},
		"an outage":         {func(i int) bool { return i > 40 && i < 60 }, 0, 0.99, Inconclusive},
		"unread at the end": {func(i int) bool { return i > 80 }, 0, 0.99, Inconclusive},
		"broke before it":   {func(i int) bool { return i > 80 }, 10, 0.99, Broke},
	} {
		t.Run(name, func(t *testing.T) {
			st := NewStore(Limits{})
			for i := range 101 {
				if c.fails(i) {
					st.Fail("api", after(i), errors.New("down"))
					continue
				}
				scrape(t, st, "api", after(i), fmt.Sprint("good ", (40-c.errors)*i), fmt.Sprint("all ", 40*i))
			}
			j := over(st).Judge(ctx, atLeast(ratioOf("good", "all"), c.min), span(0, 100))
			note := ""
			if name != "a blink" {
				note = "api went unread for "
			}
			wantJudged(t, j, c.want, note)
		})
	}
	st := NewStore(Limits{})
	for i := 50; i < 101; i++ {
		scrape(t, st, "api", after(i), fmt.Sprint("all ", 40*i))
	}
	wantJudged(t, over(st).Judge(ctx, atLeast(ratioOf("all", "all"), 0.9), span(0, 100)), Inconclusive, "api went unread for 10s")
}

func TestJudgeQuantile(t *testing.T) {
	st := NewStore(Limits{})
	e := over(st)
	var values []float64
	for i := range 5 {
		if i > 0 {
			for k := range 500 {
				values = append(values, float64(k)/500) // uniform in 0..1 s
			}
		}
		scrape(t, st, "api", after(i), histogramLines("", values, 0.25, 0.5, 0.75, 1, 2)...)
	}
	w := span(0, 4)
	j := e.Judge(ctx, atMost(quantileSLI(0.7), 0.75), w)
	wantJudged(t, j, Held, "within 0.75s: 1504 of 2000 (", "want ≥ 70 %")
	if !j.Interval || j.Value.Good != 1504 || j.Value.Total != 2000 || j.Low >= 0.752 || j.High <= 0.752 {
		t.Errorf("got %+v", j)
	}
	wantJudged(t, e.Judge(ctx, atMost(quantileSLI(0.75), 0.75), w), Inconclusive)
	wantJudged(t, e.Judge(ctx, atMost(quantileSLI(0.9), 0.75), w), Broke)
	wantJudged(t, e.Judge(ctx, atMost(quantileSLI(0.5), 0.6), w), Held, "within 0.6s: 1204 of 2000", "0.6s is no bucket boundary: interpolated between 0.5s and 0.75s")
	// "p50 is at least": at most half are within.
	wantJudged(t, e.Judge(ctx, atLeast(quantileSLI(0.5), 0.25), w), Held, "want ≤ 50 %")
	wantJudged(t, e.Judge(ctx, atLeast(quantileSLI(0.5), 0.75), w), Broke)
	// Above the last boundary nothing is known of what lies above it.
	for range 200 {
		values = append(values, 5)
	}
	scrape(t, st, "api", after(5), histogramLines("", values, 0.25, 0.5, 0.75, 1, 2)...)
	wantJudged(t, e.Judge(ctx, atMost(quantileSLI(0.95), 3), span(0, 5)), Inconclusive, "200 requests not known", "give the histogram a bucket at 3s")
	wantJudged(t, e.Judge(ctx, atMost(quantileSLI(0.8), 3), span(0, 5)), Held)
	wantJudged(t, e.Judge(ctx, atMost(quantileSLI(0.95), 2), span(0, 5)), Broke)
}

func TestJudgeQuery(t *testing.T) {
	st := NewStore(Limits{})
	for i := range 101 {
		lines := []string{fmt.Sprint("c_total ", i), "g 5"}
		switch {
		case i == 50:
			lines[1] = "g 9"
		case i > 80 && i < 99:
			lines = lines[:1] // g is gone for 3.6 s
		}
		scrape(t, st, "api", after(i), lines...)
	}
	e := over(st)
	j := e.Judge(ctx, atMost(promqlOf("g"), 10), span(0, 80))
	wantJudged(t, j, Held, "worst of 81 readings 9, want ≤ 10; no interval")
	if j.Interval || j.Value.V != 9 {
		t.Errorf("got %+v", j)
	}
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("g"), 8), span(0, 80)), Broke, "1 of 81 readings on the wrong side, the first 10s after the window's start, the worst 9")
	wantJudged(t, e.Judge(ctx, atLeast(promqlOf("g"), 5), span(0, 80)), Held, "worst of 81 readings 5")
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("g"), 10), span(0, 100)), Inconclusive, "no reading for 3.8s")
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("g"), 8), span(0, 100)), Broke)
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("gone"), 8), span(0, 100)), Inconclusive, "no data at any of 101 readings: no series matches gone")
	wantJudged(t, e.Judge(ctx, atMost(promqlOf(`{__name__=~"g|c_total"}`), 8), span(0, 10)), Inconclusive, "want one: aggregate them")
	// In per cent, while the objective is a share: neither held nor broken.
	share := promqlOf("g")
	share.Share = true
	wantJudged(t, e.Judge(ctx, atLeast(share, 0.5), span(0, 80)), Inconclusive, "got 5, want a share from 0 to 1")
	if v := e.Value(ctx, share, span(0, 80)); v.OK || !v.Wrong || !strings.Contains(v.Why, "got 5, want a share from 0 to 1") {
		t.Errorf("got %+v", v)
	}
	share.Query = "g / 10"
	wantJudged(t, e.Judge(ctx, atLeast(share, 0.5), span(0, 80)), Held, "worst of 81 readings 0.5")
	share.Query = "max_over_time(g[$window])"
	wantJudged(t, e.Judge(ctx, atLeast(share, 0.5), span(0, 80)), Inconclusive, "got 9, want a share from 0 to 1")
	// With [$window] it is one figure over all of the window.
	j = e.Judge(ctx, atMost(promqlOf("max_over_time(g[$window])"), 8), span(0, 80))
	wantJudged(t, j, Broke, "9 over the window, want ≤ 8; no interval")
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("sum(increase(c_total[$window]))"), 200), span(0, 80)), Held, "no interval")
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("g/(c_total*0)"), 1), span(0, 10)), Inconclusive, "no data at any")
}

// fill records n results, one each 10 ms from t0 on.
func fill(rs *Results, n int, f func(i int) (latency time.Duration, o outcome)) {
	for i := range n {
		l, o := f(i)
		r := result{sent: t0.Add(time.Duration(i) * 10 * time.Millisecond).UnixNano(), latency: int64(l), seq: uint32(i), outcome: o}
		if o == ok {
			r.code = 200
		}
		rs.record(r, "")
	}
}

func resultsEvaluator(rs *Results) *Evaluator {
	return NewEvaluator(Config{Traffic: map[string]*Results{rs.name: rs}})
}

// The watcher counts a request when it completes, the verdict when it was sent.
func TestWindowsOfRequests(t *testing.T) {
	rs := newResults("t", 10*time.Millisecond, 1e6, nil)
	fill(rs, 101, func(int) (time.Duration, outcome) { return time.Second, ok })
	e := resultsEvaluator(rs)
	s := spec.SLI{Kind: spec.KindTrafficSuccess, Of: "t"}
	first := Window{t0, t0.Add(time.Second)} // all are sent in it, and only the first has ended by its end
	if v := e.Value(ctx, s, first); v.Total != 1 {
		t.Errorf("live: got %+v, want 1 request", v)
	}
	if j := e.Judge(ctx, atLeast(s, 0.9), first); j.Value.Total != 100 || j.Verdict != Held {
		t.Errorf("judged: got %+v, want 100 requests", j)
	}
	second := Window{t0.Add(time.Second), t0.Add(2 * time.Second)}
	if v := e.Value(ctx, s, second); v.Total != 100 {
		t.Errorf("live: got %+v, want 100 requests", v)
	}
	if j := e.Judge(ctx, atLeast(s, 0.9), second); j.Value.Total != 1 {
		t.Errorf("judged: got %+v, want the request sent just at its start", j)
	}
	third := Window{second.End, second.End.Add(time.Second)}
	wantJudged(t, e.Judge(ctx, atLeast(s, 0.9), third), Inconclusive, "no request of t was sent in the window (1s)")
	wantNone(t, e.Value(ctx, s, Window{t0.Add(-time.Minute), t0.Add(-time.Second)}), "no data")
}

// A window shorter than the time between two arrivals would be mostly empty.
func TestWindowOfASlowProbe(t *testing.T) {
	rs := newResults("p", 5*time.Second, 1e6, nil)
	rs.record(result{sent: t0.UnixNano(), latency: 1, outcome: ok}, "")
	e := NewEvaluator(Config{Probes: map[string]*Results{"p": rs}})
	now := t0.Add(9 * time.Second)
	wantValue(t, e.Value(ctx, spec.SLI{Kind: spec.KindProbeSuccess, Of: "p"}, Window{now.Add(-time.Second), now}), 1)
}

func TestJudgeTrafficSuccess(t *testing.T) {
	rs := newResults("t", 10*time.Millisecond, 1e6, nil)
	fill(rs, 1000, func(i int) (time.Duration, outcome) {
		if i%20 == 0 {
			return time.Millisecond, failed
		}
		return time.Millisecond, ok
	})
	w := Window{t0, t0.Add(10 * time.Second)}
	s := spec.SLI{Kind: spec.KindTrafficSuccess, Of: "t"}
	e := resultsEvaluator(rs)
	wantJudged(t, e.Judge(ctx, atLeast(s, 0.9), w), Held, "950 of 1000")
	wantJudged(t, e.Judge(ctx, atLeast(s, 0.99), w), Broke)
	for i := range 100 { // still in flight, or never sent
		rs.begin(uint32(5000+i), t0.UnixNano())
		rs.record(result{sent: t0.UnixNano(), seq: noSeq, outcome: unknown}, "not sent")
	}
	j := e.Judge(ctx, atLeast(s, 0.9), w)
	wantJudged(t, j, Inconclusive, "950 of 1000", "200 requests not known")
	if j.Unknown != 200 {
		t.Errorf("got %+v, want 200 unknown", j)
	}
	wantJudged(t, e.Judge(ctx, atLeast(s, 0.5), w), Held)
}

func TestJudgeTrafficLatency(t *testing.T) {
	rs := newResults("t", 10*time.Millisecond, 1e6, nil)
	fill(rs, 1000, func(i int) (time.Duration, outcome) { return time.Duration(i%100+1) * time.Millisecond, ok })
	w := Window{t0, t0.Add(10 * time.Second)}
	s := spec.SLI{Kind: spec.KindTrafficLatency, Of: "t", Q: 0.9}
	e := resultsEvaluator(rs)
	j := e.Judge(ctx, atMost(s, 0.095), w)
	wantJudged(t, j, Held, "within 0.095s: 950 of 1000", "want ≥ 90 %")
	wantValue(t, j.Value, 0.090)
	wantJudged(t, e.Judge(ctx, atMost(s, 0.090), w), Inconclusive)
	wantJudged(t, e.Judge(ctx, atMost(s, 0.080), w), Broke)
	wantValue(t, e.Value(ctx, s, Window{t0, t0.Add(time.Minute)}), 0.090)
}

// A request that failed at once shows nothing of the latency, one that timed
// out does, and so does one in flight for longer than the threshold.
func TestJudgeLatencyOfFailures(t *testing.T) {
	s := spec.SLI{Kind: spec.KindTrafficLatency, Of: "t", Q: 0.9}
	w := Window{t0, t0.Add(10 * time.Second)}
	judge := func(latency time.Duration) Judgement {
		rs := newResults("t", 10*time.Millisecond, 1e6, nil)
		fill(rs, 1000, func(i int) (time.Duration, outcome) {
			if i%2 == 0 {
				return latency, failed
			}
			return time.Millisecond, ok
		})
		return resultsEvaluator(rs).Judge(ctx, atMost(s, 0.1), w)
	}
	wantJudged(t, judge(time.Millisecond), Inconclusive, "500 requests failed too soon to show a latency")
	wantJudged(t, judge(time.Second), Broke)

	rs := newResults("t", 10*time.Millisecond, 1e6, nil)
	fill(rs, 100, func(int) (time.Duration, outcome) { return time.Millisecond, ok })
	for i := range 100 {
		rs.begin(uint32(5000+i), t0.UnixNano())
	}
	wantJudged(t, resultsEvaluator(rs).Judge(ctx, atMost(s, 0.1), w), Broke, "100 of 200")
	for i := range 100 {
		rs.begin(uint32(5000+i), w.End.Add(-time.Millisecond).UnixNano())
	}
	wantJudged(t, resultsEvaluator(rs).Judge(ctx, atMost(s, 0.1), w), Inconclusive, "100 requests not known")
}

func TestPercent(t *testing.T) {
	for v, want := range map[float64]string{1: "100 %", 0: "0 %", 0.99: "99 %", 0.9979: "99.79 %", 0.999999: "99.9999 %", 0.00001: "0.001 %", 0.5: "50 %", 0.1234567: "12.35 %"} {
		if got := percent(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

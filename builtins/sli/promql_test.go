package sli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
)

// A failed scrape ends a series at once, not after a lookback.
func TestStaleAtOnce(t *testing.T) {
	st := NewStore(Limits{})
	e := over(st)
	counter(t, st, "x", 1, 2, -1)
	wantValue(t, e.Value(ctx, promqlOf("x"), span(0, 1)), 2)
	wantNone(t, e.Value(ctx, promqlOf("x"), span(0, 2)), "no data: scrape of api fails since 0s: connection refused")
	counter(t, st, "y") // nothing
	scrape(t, st, "api", after(3), "x 3")
	wantValue(t, e.Value(ctx, promqlOf("x"), span(0, 3)), 3)
	// And so does a series that is no longer exposed, alone.
	scrape(t, st, "api", after(4), "z 1")
	wantNone(t, e.Value(ctx, promqlOf("x"), span(0, 4)), "no samples of x")
	wantValue(t, e.Value(ctx, promqlOf("z"), span(0, 4)), 1)
}

// A source that just falls silent is gone after five intervals.
func TestLookbackIsFiveIntervals(t *testing.T) {
	st := NewStore(Limits{})
	e := over(st)
	scrape(t, st, "api", after(0), "x 1")
	wantValue(t, e.Value(ctx, promqlOf("x"), span(0, 4)), 1)
	wantNone(t, e.Value(ctx, promqlOf("x"), span(0, 5)))
}

func TestQueryWithoutValue(t *testing.T) {
	st := NewStore(Limits{})
	scrape(t, st, "api", t0, "x 0", `y{a="1"} 1`, `y{a="2"} 1`, "anan NaN", "pinf +Inf")
	for query, why := range map[string]string{
		"x/x":                  "NaN: 0/0",
		"anan":                 "NaN",
		"pinf":                 "+Inf",
		"-1/x":                 "-Inf",
		"scalar(y)":            "NaN",
		"y":                    "got 2 series",
		"gone":                 "no series matches gone; scraped: api",
		"x == bool 1 and gone": "no series matches gone",
		"rate(x[$window]":      "parse error",
		"x > 1":                "min = or max =",
	} {
		wantNone(t, over(st).Value(ctx, promqlOf(query), Window{t0, t0}), why)
	}
	wantValue(t, over(st).Value(ctx, promqlOf("scalar(sum(y)) * 2"), Window{t0, t0}), 4)
}

// [$window] is the window, and never less than two intervals.
func TestWindowToken(t *testing.T) {
	st := NewStore(Limits{})
	for i := range 11 {
		scrape(t, st, "api", after(i), fmt.Sprint("x ", i))
	}
	e := over(st)
	q := promqlOf("sum(count_over_time(x[$window]))")
	wantValue(t, e.Value(ctx, q, span(5, 10)), 5)
	wantValue(t, e.Value(ctx, q, span(9, 10)), 2)
	wantValue(t, e.Value(ctx, q, span(10, 10)), 2)
	wantValue(t, e.Value(ctx, promqlOf("max_over_time(sum(x)[$window:200ms])"), span(5, 10)), 10)
	if got, want := expand(`x{a="$window"}[$window] [$window:5s]`, 90500*time.Millisecond), `x{a="$window"}[1m30s500ms] [1m30s500ms:5s]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestQueryPanicIsAnError(t *testing.T) {
	e := over(NewStore(Limits{}))
	e.Store = nil // promql catches the panic of the nil index itself
	wantNone(t, e.Value(ctx, promqlOf("x"), Window{t0, t0}), "nil pointer")
	wantNone(t, e.Value(ctx, ratioOf("x", "x"), Window{t0, t0}), "evaluation failed: ", "nil pointer")
	if j := e.Judge(ctx, atMost(promqlOf("x"), 1), span(0, 3)); j.Verdict != Inconclusive || !strings.Contains(j.Note, "failed") {
		t.Errorf("got %+v, want inconclusive", j)
	}
}

func TestQueryTimeout(t *testing.T) {
	st := NewStore(Limits{})
	for i := range 5 {
		scrape(t, st, "api", after(i), "x 1")
	}
	e := NewEvaluator(Config{Store: st, Timeout: time.Nanosecond})
	wantNone(t, e.Value(ctx, promqlOf("x"), span(0, 4)), "no answer within 1ns")
}

func TestQueryTooLarge(t *testing.T) {
	st := NewStore(Limits{})
	scrape(t, st, "api", t0, "x 1")
	e := over(st)
	wantNone(t, e.Value(ctx, promqlOf("sum_over_time(x[9h:1ms])"), Window{t0, t0}), "got subqueries of 32400000 steps, want at most 11000")
	wantNone(t, e.Value(ctx, promqlOf("max_over_time(sum_over_time(x[1m:1s])[1h:1s])"), Window{t0, t0}), "got subqueries of 216000 steps")
	for i := range 1001 {
		scrape(t, st, "api", after(i+1), "x 1")
	}
	e.engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 100, Timeout: time.Second})
	wantNone(t, e.Value(ctx, promqlOf("count_over_time(x[1m])"), span(0, 1000)), "too many samples")
}

// The watcher is not held up by a query that does not end.
func TestQueryThatDoesNotEnd(t *testing.T) {
	e := NewEvaluator(Config{Store: NewStore(Limits{}), Timeout: time.Millisecond})
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	stuck, end := make(chan bool), make(chan bool)
	_, err := e.exec(ctx, "q", func() (promql.Query, error) {
		close(stuck)
		<-end
		panic("at last")
	})
	if err == nil || err.Error() != "no answer within 1ms" {
		t.Errorf("got %v, want no answer", err)
	}
	<-stuck
	never := func() (promql.Query, error) { t.Error("was run a second time"); return nil, nil }
	if _, err := e.exec(ctx, "q", never); err == nil || !strings.Contains(err.Error(), "has not ended") {
		t.Errorf("got %v, want it not to be run twice", err)
	}
	close(end)
}

func TestErrorsOfASource(t *testing.T) {
	st := NewStore(Limits{})
	counter(t, st, "x", 1)
	st.Fail("api", after(1), errors.New("dial tcp:\n refused "+strings.Repeat("x", 500)))
	got := st.Sources()
	if got[0].Name != "api" || !got[0].FailingSince.Equal(after(1)) || !got[0].LastSuccess.Equal(after(0)) || got[0].Series != 0 || got[0].Samples != 2 {
		t.Errorf("got %+v", got[0])
	}
	if !strings.HasPrefix(got[0].Err, "dial tcp: refused x") || len(got[0].Err) > 210 {
		t.Errorf("got error %q, want one short line", got[0].Err)
	}
	scrape(t, st, "api", after(2), "x 1")
	if got := st.Sources()[0]; !got.FailingSince.IsZero() || got.Err == "" || got.Series != 1 {
		t.Errorf("got %+v, want it alive, its last error remembered", got)
	}
	wantValue(t, over(st).Value(ctx, promqlOf(`runner_scrape_up{source="api"}`), span(0, 2)), 1)
	wantValue(t, over(st).Value(ctx, promqlOf(`runner_scrape_up{source="api"}`), span(0, 1)), 0)
}

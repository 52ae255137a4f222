package sli

import (
	"errors"
	"fmt"
	"testing"
)

// counter scrapes one counter at ticks 0, 1, 2, …; a negative value is a
// scrape that fails, and -2 one that succeeds without the series.
func counter(t *testing.T, st *Store, name string, values ...float64) {
	t.Helper()
	for i, v := range values {
		switch v {
		case -1:
			st.Fail("api", after(i), errors.New("connection refused"))
		case -2:
			scrape(t, st, "api", after(i), "other 1")
		default:
			scrape(t, st, "api", after(i), "other 1", fmt.Sprint(name, " ", v))
		}
	}
}

func TestIncrease(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		w      Window
		want   float64
		seen   bool
	}{
		"plain":                      {[]float64{10, 11, 14}, span(0, 2), 4, true},
		"base before the window":     {[]float64{10, 11, 14, 20}, span(1, 2), 3, true},
		"from before all samples":    {[]float64{10, 11}, span(-5, 1), 1, true},
		"reset":                      {[]float64{10, 12, 3, 4}, span(0, 3), 2 + 3 + 1, true},
		"reset to zero":              {[]float64{10, 0, 4}, span(0, 2), 4, true},
		"two resets":                 {[]float64{5, 2, 1}, span(0, 2), 3, true},
		"born in the window":         {[]float64{-2, 7, 9}, span(-1, 2), 9, true},
		"born before the window":     {[]float64{-2, 7, 9}, span(1, 2), 2, true},
		"there at the first scrape":  {[]float64{7, 9}, span(-1, 1), 2, true},
		"over an outage":             {[]float64{7, -1, -1, 9}, span(0, 3), 2, true},
		"reset within an outage":     {[]float64{7, -1, 3}, span(0, 2), 3, true},
		"born in an outage":          {[]float64{-2, -1, 3}, span(0, 2), 3, true},
		"gone and back":              {[]float64{7, -2, 9}, span(0, 2), 2, true},
		"window within an outage":    {[]float64{7, -1, -1, -1, 9}, span(1, 3), 0, false},
		"a sample only at its start": {[]float64{7, -1, -1, -1, 9}, span(0, 3), 0, false},
		"nothing in the window":      {[]float64{7}, span(5, 9), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			st := NewStore(Limits{})
			counter(t, st, "c", c.values...)
			got, seen := st.find(mustSelect(t, "c"))[0].increase(c.w.Start.UnixMilli(), c.w.End.UnixMilli())
			if got != c.want || seen != c.seen {
				t.Errorf("got %v %v, want %v %v", got, seen, c.want, c.seen)
			}
		})
	}
}

// Windows that follow each other share out every increment exactly once.
func TestIncreasePartitions(t *testing.T) {
	st := NewStore(Limits{})
	values := []float64{-2, 3, 4, -1, 9, 2, -2, 5, 5, 8, -1, -1, 1}
	counter(t, st, "c", values...)
	v := st.find(mustSelect(t, "c"))[0]
	whole, _ := v.increase(after(-1).UnixMilli(), after(20).UnixMilli())
	for size := 1; size < 8; size++ {
		sum := 0.0
		for i := -1; i < 20; i += size {
			d, _ := v.increase(after(i).UnixMilli(), after(min(i+size, 20)).UnixMilli())
			sum += d
		}
		if sum != whole {
			t.Errorf("windows of %d: got %v, want %v", size, sum, whole)
		}
	}
}

func TestRatio(t *testing.T) {
	st := NewStore(Limits{})
	for i := range 11 {
		lines := []string{fmt.Sprintf(`req_total{code="200"} %d`, 100+9*i)}
		if i > 0 { // the first error is the counter's first sample
			lines = append(lines, fmt.Sprintf(`req_total{code="500"} %d`, i))
		}
		scrape(t, st, "api", after(i), lines...)
	}
	v := over(st).Value(ctx, ratioOf(`req_total{code!~"5.."}`, "req_total"), span(0, 10))
	wantValue(t, v, 0.9)
	if v.Good != 90 || v.Total != 100 {
		t.Errorf("got %d of %d, want 90 of 100", v.Good, v.Total)
	}
	v = over(st).Value(ctx, ratioOf(`req_total{code="201"}`, "req_total"), span(0, 10))
	wantValue(t, v, 0)
	if v.Note == "" {
		t.Error("got no remark that nothing matches good")
	}
}

func TestRatioWithoutValue(t *testing.T) {
	st := NewStore(Limits{})
	e := over(st)
	s := ratioOf(`req_total{code="200"}`, "req_total")
	wantNone(t, e.Value(ctx, s, span(0, 5)), "no data: no series matches req_total; scraped: ")
	counter(t, st, `req_total{code="200"}`, 5, 5, 5)
	wantNone(t, e.Value(ctx, s, span(0, 2)), "NaN: 0/0: no requests in the window (400ms)")
	st.Fail("api", after(3), errors.New("connection refused"))
	wantNone(t, e.Value(ctx, s, span(3, 9)), "no data: scrape of api fails since 1.2s: connection refused")
	wantNone(t, e.Value(ctx, ratioOf("req_total", `req_total{code="x"}`), span(0, 2)), `one of 1 called so is {__name__="req_total", code="200", instance="api"}`)
}

func TestRatioGoodBeyondTotal(t *testing.T) {
	st := NewStore(Limits{})
	for i := range 3 {
		scrape(t, st, "api", after(i), fmt.Sprint("good ", 3*i), fmt.Sprint("total ", i), "huge 1e300", "pinf +Inf")
	}
	wantNone(t, over(st).Value(ctx, ratioOf("good", "total"), span(0, 2)), "good (6) is more than total (2)")
	wantNone(t, over(st).Value(ctx, ratioOf("pinf", "pinf"), span(-1, 2)), "no data")
	scrape(t, st, "api", after(3), "huge 1e308")
	wantNone(t, over(st).Value(ctx, ratioOf("huge", "huge"), span(0, 3)), "2^53")
}

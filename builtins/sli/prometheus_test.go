package sli

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"chaosrunner/builtins/spec"
)

// promServer is the HTTP API of a Prometheus server over a Store, answered by
// the real engine with Prometheus' own lookback.
func promServer(st *Store) http.HandlerFunc {
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	seconds := func(s string) time.Time {
		f, _ := strconv.ParseFloat(s, 64)
		return time.UnixMilli(int64(math.Round(f * 1000)))
	}
	return func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		var q promql.Query
		var err error
		if strings.HasSuffix(r.URL.Path, "/query_range") {
			step, _ := strconv.ParseFloat(r.Form.Get("step"), 64)
			q, err = engine.NewRangeQuery(ctx, st, nil, r.Form.Get("query"), seconds(r.Form.Get("start")), seconds(r.Form.Get("end")), time.Duration(step*1e9))
		} else {
			q, err = engine.NewInstantQuery(ctx, st, nil, r.Form.Get("query"), seconds(r.Form.Get("time")))
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]any{"status": "error", "errorType": "bad_data", "error": err.Error()})
			return
		}
		res := q.Exec(ctx)
		pair := func(t int64, v float64) []any {
			return []any{float64(t) / 1000, strconv.FormatFloat(v, 'f', -1, 64)}
		}
		out, kind := []any{}, ""
		switch v := res.Value.(type) {
		case promql.Vector:
			kind = "vector"
			for _, s := range v {
				out = append(out, map[string]any{"metric": s.Metric.Map(), "value": pair(s.T, s.F)})
			}
		case promql.Scalar:
			kind, out = "scalar", pair(v.T, v.V)
		case promql.Matrix:
			kind = "matrix"
			for _, s := range v {
				var values []any
				for _, p := range s.Floats {
					values = append(values, pair(p.T, p.F))
				}
				out = append(out, map[string]any{"metric": s.Metric.Map(), "values": values})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": kind, "result": out}})
	}
}

func serverEvaluator(t *testing.T, h http.HandlerFunc) (*Evaluator, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	p, err := NewPrometheusServer(spec.Prometheus{URL: s.URL + "/prom", Headers: map[string]string{"Authorization": "Bearer x"}, Interval: tick, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return NewEvaluator(Config{Store: NewStore(Limits{}), Prometheus: p}), s
}

func TestPrometheusServer(t *testing.T) {
	noLeaks(t)
	st := NewStore(Limits{})
	var values []float64
	for i := range 51 {
		if i > 0 {
			for k := range 100 {
				values = append(values, float64(k)/100)
			}
		}
		scrape(t, st, "api", after(i), append(histogramLines("", values, 0.25, 0.5, 1),
			fmt.Sprintf(`req_total{code="200"} %d`, 90*i), fmt.Sprintf(`req_total{code="500"} %d`, 10*i), "g 5")...)
	}
	var paths, auth = map[string]bool{}, map[string]bool{}
	inner := promServer(st)
	e, server := serverEvaluator(t, func(w http.ResponseWriter, r *http.Request) {
		paths[r.URL.Path], auth[r.Header.Get("Authorization")] = true, true
		inner(w, r)
	})
	w := span(10, 50)
	s := ratioOf(`req_total{code!~"5.."}`, "req_total")
	v := e.Value(ctx, s, w)
	wantValue(t, v, 0.9)
	if !v.Approx || v.Good < 3400 || v.Good > 3700 || v.Total < 3900 || v.Total > 4100 {
		t.Errorf("got %+v, want about 3600 of 4000, approximate", v)
	}
	if v := e.Value(ctx, quantileSLI(0.5), w); !v.OK || math.Abs(v.V-0.5) > 0.02 {
		t.Errorf("got %+v, want about 0.5", v)
	}
	wantValue(t, e.Value(ctx, promqlOf("g"), w), 5)
	wantValue(t, e.Value(ctx, promqlOf("scalar(g)+1"), w), 6)
	wantValue(t, e.Value(ctx, promqlOf("sum(count_over_time(g[$window]))"), w), 40)
	wantValue(t, e.Value(ctx, ratioOf(`req_total{code="201"}`, "req_total"), w), 0)
	wantNone(t, e.Value(ctx, promqlOf("gone"), w), "the Prometheus server has no series for it")
	wantNone(t, e.Value(ctx, ratioOf("gone", "gone"), w), "no increase of gone")
	wantNone(t, e.Value(ctx, promqlOf("req_total"), w), "got 2 series")
	wantNone(t, e.Value(ctx, promqlOf("g/(g-5)"), w), "+Inf")
	wantNone(t, e.Value(ctx, promqlOf("(g-5)/(g-5)"), w), "NaN")

	wantJudged(t, e.Judge(ctx, atLeast(s, 0.85), w), Held, "extrapolation")
	wantJudged(t, e.Judge(ctx, atLeast(s, 0.99), w), Broke)
	wantJudged(t, e.Judge(ctx, atMost(quantileSLI(0.4), 0.5), w), Held, "extrapolation", "within 0.5s")
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("g"), 5), w), Held, "worst of 41 readings 5")
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("g"), 4), w), Broke, "41 of 41 readings on the wrong side")

	wantFresh(t, e, s, after(50), 0, "")
	wantFresh(t, e, promqlOf("g offset 1m"), after(60), 9*tick, "the newest sample of g")
	wantFresh(t, e, promqlOf("gone"), after(50), Never, "has none of the series")
	st.Fail("api", after(51), errors.New("down"))
	wantFresh(t, e, promqlOf("g"), after(70), 19*tick, "is 4s old")

	if !paths["/prom/api/v1/query"] || !paths["/prom/api/v1/query_range"] || len(auth) != 1 || !auth["Bearer x"] {
		t.Errorf("got paths %v and authorization %v", paths, auth)
	}
	// What the runner counts itself is read here, not there.
	if err := e.Store.Append("runner_x", nil, after(50), 7); err != nil {
		t.Fatal(err)
	}
	wantValue(t, e.Value(ctx, promqlOf("runner_x"), w), 7)

	server.Close()
	wantNone(t, e.Value(ctx, s, w), "Prometheus server: ", "connection refused")
	wantNone(t, e.Value(ctx, quantileSLI(0.5), w), "connection refused")
	wantJudged(t, e.Judge(ctx, atMost(promqlOf("g"), 5), w), Inconclusive, "connection refused")
	if age, why := e.Fresh(ctx, promqlOf("g"), after(80)); age != 29*tick || !strings.Contains(why, "connection refused") {
		t.Errorf("got %s, %q", age, why)
	}
}

func TestPrometheusServerThatMisbehaves(t *testing.T) {
	for want, h := range map[string]http.HandlerFunc{
		"Prometheus server: ": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") },
		"503":                 func(w http.ResponseWriter, r *http.Request) { http.Error(w, "starting", http.StatusServiceUnavailable) },
		"unexpected end":      func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"status":"success","data":`) },
		"unexpected value type": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`)
		},
		"got a histogram": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1","sum":"1","buckets":[]}]}]}}`)
		},
		"NaN: 0/0, or a metric": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}`)
		},
		"no data: the Prometheus": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
		},
		"bad_response: ": func(w http.ResponseWriter, r *http.Request) { // without end
			for {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
					return
				}
			}
		},
	} {
		t.Run(want, func(t *testing.T) {
			e, _ := serverEvaluator(t, h)
			wantNone(t, e.Value(ctx, promqlOf("g"), span(0, 5)), want)
		})
	}
}

func TestPrometheusServerHangs(t *testing.T) {
	noLeaks(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // reads the body, without which no server sees its client go
		<-r.Context().Done()
	}))
	defer s.Close()
	p, err := NewPrometheusServer(spec.Prometheus{URL: s.URL, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	e := NewEvaluator(Config{Prometheus: p, Timeout: time.Hour})
	wantNone(t, e.Value(ctx, promqlOf("g"), span(0, 5)), "no answer of the Prometheus server within 50ms")
}

func TestPrometheusServerURL(t *testing.T) {
	for _, u := range []string{"", "localhost:9090", "ftp://x", "http://"} {
		if _, err := NewPrometheusServer(spec.Prometheus{URL: u}); err == nil {
			t.Errorf("%q: got no error", u)
		}
	}
}

package sli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// query evaluates PromQL at the window's end.
func (e *Evaluator) query(ctx context.Context, query string, w Window) Value {
	w = e.atLeastTwo(w)
	text := expand(query, w.Length())
	if e.onServer(query) {
		return e.Prometheus.query(ctx, text, w)
	}
	res, err := e.exec(ctx, text, func() (promql.Query, error) {
		return e.engine.NewInstantQuery(ctx, e.Store, nil, text, w.End)
	})
	if err != nil {
		return none("%v", err)
	}
	switch v := res.(type) {
	case promql.Scalar:
		return finite(v.V, w.Length())
	case promql.Vector:
		switch {
		case len(v) == 0:
			return none("no data: %s", e.Store.whyNone(w.End, selectorsIn(query)...))
		case len(v) > 1:
			return none("got %d series (%s, %s, …), want one: aggregate them, as in sum(…)", len(v), v[0].Metric, v[1].Metric)
		case v[0].H != nil:
			return none("got a histogram, want a number: use histogram_quantile(…)")
		}
		return finite(v[0].F, w.Length())
	}
	return none("got a %s, want a number", res.Type())
}

// exec runs a query in the engine, and returns when ctx ends even if the
// engine does not: it looks at its context between steps only, and a subquery
// can keep it for seconds, while the watcher has a heartbeat to send. What is
// left running is bounded by never running the same query twice at once.
func (e *Evaluator) exec(ctx context.Context, text string, prepare func() (promql.Query, error)) (parser.Value, error) {
	if _, running := e.running.LoadOrStore(text, true); running {
		return nil, errors.New("its last evaluation has not ended yet: ask for less")
	}
	type answer struct {
		value parser.Value
		err   error
	}
	out := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if r := recover(); r != nil {
				a = answer{nil, fmt.Errorf("evaluation failed: %v", r)}
			}
			e.running.Delete(text)
			out <- a
		}()
		q, err := prepare()
		if err != nil {
			a.err = err
			return
		}
		// Not closed: the answer outlives the query, and Close would give its points back to a pool.
		res := q.Exec(ctx)
		a = answer{res.Value, res.Err}
	}()
	var a answer
	select {
	case a = <-out:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	var late promql.ErrQueryTimeout
	if a.err != nil && (errors.As(a.err, &late) || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
		a.err = fmt.Errorf("no answer within %s", e.Timeout)
	}
	return a.value, a.err
}

// selectorsIn lists the selectors of a query that Check has passed.
func selectorsIn(query string) []*parser.VectorSelector {
	expr, err := promqlParser.ParseExpr(expand(query, time.Minute))
	if err != nil {
		return nil
	}
	return selectorsOf(expr)
}

// onServer says whether the Prometheus server answers a query (or selector).
// What reads only the runner's own series is answered here: no server has them.
func (e *Evaluator) onServer(query string) bool {
	if e.Prometheus == nil {
		return false
	}
	for _, vs := range selectorsIn(query) {
		if !strings.HasPrefix(vs.Name, "runner_") {
			return true
		}
	}
	return false
}

// reading is one evaluation of a query in a row of them.
type reading struct {
	t  time.Time
	v  float64
	ok bool
}

// readings evaluates a query each interval from the window's start to its end.
func (e *Evaluator) readings(ctx context.Context, query string, w Window) ([]reading, error) {
	step := e.interval()
	for w.Length()/step > 10_000 { // as many points as Prometheus answers
		step *= 2
	}
	text := expand(query, 2*e.interval())
	if e.onServer(query) {
		return e.Prometheus.readings(ctx, text, w, step)
	}
	res, err := e.exec(ctx, text+" over a range", func() (promql.Query, error) {
		return e.engine.NewRangeQuery(ctx, e.Store, nil, text, w.Start, w.End, step)
	})
	if err != nil {
		return nil, err
	}
	m, isMatrix := res.(promql.Matrix)
	if !isMatrix {
		return nil, fmt.Errorf("got a %s, want numbers", res.Type())
	}
	values := make(map[int64][]float64)
	for _, s := range m {
		if len(s.Histograms) > 0 {
			return nil, errors.New("got histograms, want numbers: use histogram_quantile(…)")
		}
		for _, p := range s.Floats {
			values[p.T] = append(values[p.T], p.F)
		}
	}
	return readingsOf(values, w, step)
}

// readingsOf lays values (by Unix ms) on the steps of a window; a step without
// a number is a reading that is not ok.
func readingsOf(values map[int64][]float64, w Window, step time.Duration) ([]reading, error) {
	var out []reading
	for t := w.Start; !t.After(w.End); t = t.Add(step) {
		r := reading{t: t}
		switch vs := values[t.UnixMilli()]; {
		case len(vs) > 1:
			return nil, fmt.Errorf("got %d series at %s, want one: aggregate them, as in sum(…)", len(vs), t.Format(time.TimeOnly))
		case len(vs) == 1:
			v := finite(vs[0], 0)
			r.v, r.ok = v.V, v.OK
		}
		out = append(out, r)
	}
	return out, nil
}

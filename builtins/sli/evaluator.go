package sli

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"

	"chaosrunner/builtins/spec"
)

// Config is what an Evaluator reads. Only Store is required.
type Config struct {
	Store      *Store
	Traffic    map[string]*Results // by name
	Probes     map[string]*Results // by name
	Prometheus *PrometheusServer   // answers ratio, quantile and query instead of the store; may be nil
	Interval   time.Duration       // between scrapes; default 200 ms
	Timeout    time.Duration       // of one evaluation; default 1 s
	BlindAfter time.Duration       // how long without data spoils a verdict; default 3 s
}

// Evaluator turns SLIs into numbers. It is safe for concurrent use.
type Evaluator struct {
	Config
	engine  *promql.Engine
	running sync.Map // texts of the queries that are being evaluated
}

// lookback is how many intervals a sample stays valid without a successor.
// Prometheus' own five minutes would show a dead source as alive.
const lookback = 5

// maxQuerySamples bounds the memory of one query: 16 B each, 16 MB.
const maxQuerySamples = 1_000_000

// NewEvaluator returns an Evaluator over c.
func NewEvaluator(c Config) *Evaluator {
	c.Interval = cmp.Or(c.Interval, 200*time.Millisecond)
	c.Timeout = cmp.Or(c.Timeout, time.Second)
	if c.Prometheus != nil {
		c.Timeout = max(c.Timeout, c.Prometheus.timeout)
	}
	c.BlindAfter = cmp.Or(c.BlindAfter, 3*time.Second)
	if c.Store == nil {
		c.Store = NewStore(Limits{})
	}
	return &Evaluator{Config: c, engine: promql.NewEngine(promql.EngineOpts{
		MaxSamples:               maxQuerySamples,
		Timeout:                  judgeTimeout, // Value's own is shorter, by its context
		LookbackDelta:            lookback * c.Interval,
		NoStepSubqueryIntervalFn: func(int64) int64 { return c.Interval.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		Parser:                   promqlParser,
	})}
}

// Value reads an SLI over a window that ends now; requests count in the window
// in which they completed (see Results). The window of a query is at least two
// intervals, that of a traffic or probe at least two arrivals, because shorter
// ones are mostly empty.
func (e *Evaluator) Value(ctx context.Context, s spec.SLI, w Window) (v Value) {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			v = none("evaluation failed: %v", r)
		}
	}()
	if err := Check(s); err != nil {
		return none("%v", err)
	}
	switch s.Kind {
	case spec.KindRatio:
		return e.ratio(ctx, s, w)
	case spec.KindQuantile:
		return e.quantile(ctx, s, w)
	case spec.KindPromQL:
		return e.query(ctx, s.Query, w).share(s)
	}
	rs, err := e.resultsOf(s)
	if err != nil {
		return none("%v", err)
	}
	return rs.value(s, w)
}

// resultsOf finds the traffic or probe that an SLI is about.
func (e *Evaluator) resultsOf(s spec.SLI) (*Results, error) {
	set, what := e.Traffic, "traffic"
	if s.Kind == spec.KindProbeSuccess || s.Kind == spec.KindProbeLatency {
		set, what = e.Probes, "probe"
	}
	if rs := set[s.Of]; rs != nil {
		return rs, nil
	}
	return nil, fmt.Errorf("no %s is called %q: have %q", what, s.Of, sortedKeys(set))
}

// interval is the time between two samples of the source that answers queries.
func (e *Evaluator) interval() time.Duration {
	if e.Prometheus != nil {
		return e.Prometheus.interval
	}
	return e.Interval
}

// atLeastTwo widens a window to two intervals: one increment needs two samples.
func (e *Evaluator) atLeastTwo(w Window) Window {
	if shortest := 2 * e.interval(); w.Length() < shortest {
		w.Start = w.End.Add(-shortest)
	}
	return w
}

// Package dependency measures what the API asks of others, from the API's side.
package dependency

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	outcomes = []string{"ok", "timeout", "canceled", "error"}
	buckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .2, .25, .5, 1, 2.5, 5, 10}
)

// Metrics holds the counters and histograms of all dependencies.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// New registers the metrics; the series of the names given exist from the start.
func New(reg prometheus.Registerer, names ...string) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dependency_requests_total",
			Help: "Requests made to a dependency, by outcome: ok, timeout, canceled (our own caller gave up) or error.",
		}, []string{"dependency", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dependency_request_duration_seconds",
			Help:    "Time until a dependency answered or was given up.",
			Buckets: buckets,
		}, []string{"dependency"}),
	}
	reg.MustRegister(m.requests, m.duration)
	for _, name := range names {
		for _, outcome := range outcomes {
			m.requests.WithLabelValues(name, outcome)
		}
		m.duration.WithLabelValues(name)
	}
	return m
}

// Start begins a measurement; the function it returns ends it:
//
//	done := m.Start("payments")
//	charge, err := …
//	done(err)
func (m *Metrics) Start(name string) (done func(error)) {
	start := time.Now()
	return func(err error) {
		m.duration.WithLabelValues(name).Observe(time.Since(start).Seconds())
		m.requests.WithLabelValues(name, outcome(err)).Inc()
	}
}

func outcome(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "error"
}

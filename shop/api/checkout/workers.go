package checkout

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"chaosrunner/shop/internal/service"
)

// Most is how many requests the api works on at once: enough for ten times the usual traffic, as long as none of them
// takes long.
const Most = 16

// Workers bounds the requests that are worked on at once. What is more waits, for as long as its customer does.
type Workers struct {
	slots   chan struct{}
	waiting prometheus.Gauge
}

// NewWorkers makes n of them.
func NewWorkers(n int, reg prometheus.Registerer) *Workers {
	w := &Workers{
		slots:   make(chan struct{}, n),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "http_requests_waiting", Help: "Requests that wait for a worker."}),
	}
	reg.MustRegister(w.waiting,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "http_workers_busy", Help: "Workers that work on a request."},
			func() float64 { return float64(len(w.slots)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "http_workers", Help: "Requests that may be worked on at once."},
			func() float64 { return float64(n) }))
	return w
}

// do has h done by a worker; nil workers have no bound.
func (w *Workers) do(h http.HandlerFunc) http.HandlerFunc {
	if w == nil {
		return h
	}
	return func(out http.ResponseWriter, r *http.Request) {
		w.waiting.Inc()
		select {
		case w.slots <- struct{}{}:
			w.waiting.Dec()
			defer func() { <-w.slots }()
			h(out, r)
		case <-r.Context().Done(): // its customer has given up
			w.waiting.Dec()
			service.WriteError(out, http.StatusServiceUnavailable, "given up while waiting")
		}
	}
}

// Pools are the workers of each route. Routes that share them share their troubles.
type Pools struct{ Checkout, Products *Workers }

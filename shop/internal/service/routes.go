package service

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Dense where objectives lie: a quantile is only as exact as the buckets around it.
var buckets = []float64{.001, .0025, .005, .01, .015, .02, .03, .05, .075, .1, .15, .2, .25, .3, .4, .5, .75, 1, 2.5, 5, 10}

// Routes is a mux whose routes are measured, with /healthz and /metrics on it.
type Routes struct {
	Registry *prometheus.Registry

	mux      *http.ServeMux
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
}

// NewRoutes returns a mux that answers /healthz and /metrics. /healthz says that the process lives and nothing
// else: a service that called itself sick whenever a dependency is down would be restarted for nothing.
func NewRoutes() *Routes {
	r := &Routes{
		Registry: prometheus.NewRegistry(),
		mux:      http.NewServeMux(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total",
			Help: "Requests answered, by route, method and status code.",
		}, []string{"handler", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "http_request_duration_seconds",
			Help:    "Time to answer a request, by route and method.",
			Buckets: buckets,
		}, []string{"handler", "method"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "http_requests_in_flight",
			Help: "Requests being answered now, by route.",
		}, []string{"handler"}),
	}
	r.Registry.MustRegister(r.requests, r.duration, r.inFlight,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	r.mux.Handle("GET /metrics", promhttp.HandlerFor(r.Registry, promhttp.HandlerOpts{}))
	return r
}

// Check is a thing that a service needs for its work.
type Check struct {
	Name    string
	Trouble func() string // what is wrong with it; "" if nothing
}

// Ready adds /readyz, which tells an operator what does not work, without being a reason for a restart: 200 if all
// checks are well, else 503.
func (r *Routes) Ready(checks ...Check) {
	r.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		code, told := http.StatusOK, map[string]string{}
		for _, c := range checks {
			told[c.Name] = "ok"
			if trouble := c.Trouble(); trouble != "" {
				code, told[c.Name] = http.StatusServiceUnavailable, trouble
			}
		}
		WriteJSON(w, code, told)
	})
}

// Handle adds a measured route, such as "POST /checkout". The series of the codes named exist from the start: a
// ratio over a counter that has not been born yet is no number, and the first error would not count as an increase.
func (r *Routes) Handle(pattern string, h http.HandlerFunc, codes ...int) {
	method, path, _ := strings.Cut(pattern, " ")
	handler := prometheus.Labels{"handler": path}
	requests := r.requests.MustCurryWith(handler)
	for _, code := range codes {
		// promhttp writes methods in lower case.
		requests.WithLabelValues(strings.ToLower(method), strconv.Itoa(code))
	}
	measured := promhttp.InstrumentHandlerCounter(requests, h)
	measured = promhttp.InstrumentHandlerDuration(r.duration.MustCurryWith(handler), measured)
	r.mux.Handle(pattern, promhttp.InstrumentHandlerInFlight(r.inFlight.With(handler), measured))
}

func (r *Routes) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.mux.ServeHTTP(w, req) }

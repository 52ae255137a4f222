package sli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"chaosrunner/builtins/spec"
)

// PrometheusServer answers queries by a Prometheus server's HTTP API. Its
// counts come from increase(), which extrapolates: they are marked Approx.
type PrometheusServer struct {
	api      promv1.API
	interval time.Duration
	timeout  time.Duration
	close    func()

	mu     sync.Mutex
	newest map[string]time.Time // by selector: the newest sample seen so far
}

// maxAnswer bounds one answer of the server.
const maxAnswer = 8 << 20

// NewPrometheusServer prepares a client; it does not connect. Interval is what
// the server scrapes at (default 15 s), Timeout of one query (default 1 s).
func NewPrometheusServer(p spec.Prometheus) (*PrometheusServer, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("sli: prometheus: got url %q, want http://host:port", p.URL)
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	client, err := api.NewClient(api.Config{Address: p.URL, RoundTripper: boundedTransport{base, p.Headers}})
	if err != nil {
		return nil, fmt.Errorf("sli: prometheus: %w", err)
	}
	return &PrometheusServer{
		api:      promv1.NewAPI(client),
		interval: cmp.Or(p.Interval, 15*time.Second),
		timeout:  cmp.Or(p.Timeout, time.Second),
		close:    base.CloseIdleConnections,
		newest:   map[string]time.Time{},
	}, nil
}

// Close gives idle connections back.
func (p *PrometheusServer) Close() { p.close() }

// boundedTransport adds the declared headers, and bounds the answer: the API's
// client reads it whole.
type boundedTransport struct {
	http.RoundTripper
	headers map[string]string
}

func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for k, v := range t.headers {
		req.Header.Set(k, v)
	}
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body} // cut JSON does not parse
	}
	return resp, err
}

func (p *PrometheusServer) vector(ctx context.Context, query string, at time.Time) (model.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	v, _, _, err := p.api.Query(ctx, query, at)
	if err != nil {
		return nil, p.complain(ctx, err)
	}
	switch v := v.(type) {
	case model.Vector:
		return v, nil
	case *model.Scalar:
		return model.Vector{{Value: v.Value, Timestamp: v.Timestamp}}, nil
	}
	return nil, fmt.Errorf("got a %s, want a number", v.Type())
}

func (p *PrometheusServer) complain(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer of the Prometheus server within %s", p.timeout)
	}
	return fmt.Errorf("the Prometheus server: %w", wrapHTTP(err))
}

// one returns the only sample of a query; an empty answer is not ok and no error.
func (p *PrometheusServer) one(ctx context.Context, query string, at time.Time) (v float64, found bool, err error) {
	vec, err := p.vector(ctx, query, at)
	switch {
	case err != nil || len(vec) == 0:
		return 0, false, err
	case len(vec) > 1:
		return 0, false, fmt.Errorf("got %d series (%s, %s, …), want one: aggregate them, as in sum(…)", len(vec), vec[0].Metric, vec[1].Metric)
	case vec[0].Histogram != nil:
		return 0, false, errors.New("got a histogram, want a number: use histogram_quantile(…)")
	}
	return float64(vec[0].Value), true, nil
}

func (p *PrometheusServer) query(ctx context.Context, query string, w Window) Value {
	x, found, err := p.one(ctx, query, w.End)
	if err != nil {
		return none("%v", err)
	}
	if !found {
		return none("no data: the Prometheus server has no series for it at %s", w.End.Format(time.TimeOnly))
	}
	return finite(x, w.Length())
}

func increaseOf(vs *parser.VectorSelector, w Window) string {
	return fmt.Sprintf("increase(%s[%s])", vs, model.Duration(w.Length().Round(time.Millisecond)))
}

func (p *PrometheusServer) ratio(ctx context.Context, s spec.SLI, w Window) Value {
	var counts [2]float64
	for i, sel := range []string{s.Good, s.Total} {
		vs, err := vectorSelector(sel)
		if err != nil {
			return none("%v", err)
		}
		x, found, err := p.one(ctx, "sum("+increaseOf(vs, w)+")", w.End)
		if err != nil {
			return none("%v", err)
		}
		if !found && i == 1 {
			return none("no data: the Prometheus server has no increase of %s in %s", vs, w.Length())
		}
		counts[i] = x
	}
	v := share(counts[0], counts[1], w)
	v.Approx = v.OK
	return v
}

func (p *PrometheusServer) buckets(ctx context.Context, s spec.SLI, w Window) (promql.Buckets, string) {
	vs, err := vectorSelector(s.Histogram)
	if err != nil {
		return nil, err.Error()
	}
	vec, err := p.vector(ctx, "sum by (le) ("+increaseOf(vs, w)+")", w.End)
	if err != nil {
		return nil, err.Error()
	}
	counts := map[float64]float64{}
	for _, sample := range vec {
		le, err := strconv.ParseFloat(string(sample.Metric[model.BucketLabel]), 64)
		if err == nil && le == le { // not NaN
			counts[le] += float64(sample.Value)
		}
	}
	if len(counts) == 0 {
		return nil, fmt.Sprintf("no data: the Prometheus server has no increase of %s in %s", vs, w.Length())
	}
	return sortedBuckets(counts), ""
}

func (p *PrometheusServer) readings(ctx context.Context, query string, w Window, step time.Duration) ([]reading, error) {
	v, _, _, err := p.api.QueryRange(ctx, query, promv1.Range{Start: w.Start, End: w.End, Step: step})
	if err != nil {
		return nil, p.complain(ctx, err)
	}
	m, isMatrix := v.(model.Matrix)
	if !isMatrix {
		return nil, fmt.Errorf("got a %s, want numbers", v.Type())
	}
	values := map[int64][]float64{}
	for _, s := range m {
		for _, pair := range s.Values {
			values[int64(pair.Timestamp)] = append(values[int64(pair.Timestamp)], float64(pair.Value))
		}
	}
	return readingsOf(values, w, step)
}

// fresh asks for the age of the oldest of the instances whose series are read,
// each by its newest sample. An instance that ends with a stale marker leaves
// the answer; when the last one has, the newest sample seen so far is the age.
func (p *PrometheusServer) fresh(ctx context.Context, selectors []*parser.VectorSelector, now time.Time) (time.Duration, string) {
	worst, why, found := time.Duration(0), "", false
	for _, vs := range selectors {
		key := plain(vs)
		vec, err := p.vector(ctx, "max by (job, instance) (timestamp("+key+"))", now)
		p.mu.Lock()
		newest, known := p.newest[key]
		p.mu.Unlock()
		if err == nil && len(vec) > 0 {
			oldest := time.Time{}
			for i, s := range vec {
				if t := time.UnixMilli(int64(float64(s.Value) * 1000)); i == 0 || t.Before(oldest) {
					oldest = t
				}
			}
			newest, known = oldest, true
			p.mu.Lock()
			p.newest[key] = newest
			p.mu.Unlock()
		}
		if !known {
			if err != nil {
				return Never, err.Error()
			}
			continue // it may be an error counter that does not exist yet
		}
		found = true
		age := now.Sub(newest) - p.interval
		if age > worst {
			worst, why = age, fmt.Sprintf("the newest sample of %s on the Prometheus server is %s old", vs, ago(now.Sub(newest).Milliseconds()))
			if err != nil {
				why += "; " + err.Error()
			}
		}
	}
	if !found {
		return Never, "no data: the Prometheus server has none of the series"
	}
	return worst, why
}

// plain is a selector without offset and @.
func plain(vs *parser.VectorSelector) string {
	return (&parser.VectorSelector{Name: vs.Name, LabelMatchers: vs.LabelMatchers}).String()
}

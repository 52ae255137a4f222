package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

// sources are where a run's numbers come from: the scraped endpoints, the
// traffic and the probes.
type sources struct {
	r        *run
	store    *sli.Store
	eval     *sli.Evaluator
	scraper  *sli.Scraper
	senders  map[string]*sli.Traffic // traffic and probes, by name
	urls     map[string]string       // of each, as resolved
	csv      []*os.File
	stopOnce sync.Once
	cancel   context.CancelFunc
	scraping sync.WaitGroup

	mu   sync.Mutex
	down map[string]bool // sources that the journal knows to be gone
}

// newSources finds out where everything is, and refuses what is nowhere;
// nothing is sent yet.
func newSources(ctx context.Context, r *run) (*sources, error) {
	s := &sources{r: r, store: sli.NewStore(sli.Limits{}), senders: map[string]*sli.Traffic{}, urls: map[string]string{}, down: map[string]bool{}}
	var problems Refusal
	find := func(pos spec.Pos, builtin, name, raw string) error {
		resolved, err := r.resolveURL(ctx, raw)
		s.urls[name] = resolved
		return problems.add(at(pos, builtin, err))
	}
	var broken error
	for _, t := range r.exp.Traffic {
		broken = errors.Join(broken, find(t.Pos, "traffic", t.Name, t.URL))
	}
	for _, p := range r.exp.Probes {
		broken = errors.Join(broken, find(p.Pos, "probe", p.Name, p.URL))
	}
	if m := r.exp.Metrics; m != nil {
		for _, endpoint := range m.Scrape {
			_, err := r.endpoint(ctx, endpoint)
			broken = errors.Join(broken, problems.add(at(m.Pos, "metrics", err)))
		}
	}
	if broken == nil && len(problems.Errors) > 0 {
		broken = &problems
	}
	return s, broken
}

// resolveURL puts an address in the place of a target's name. The published
// port is preferred: it is what users of the system reach.
func (r *run) resolveURL(ctx context.Context, raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "", protocol.Errorf(protocol.CodeBad, "got url %q, want http://host:port/path", raw)
	}
	if isPlain(u.Hostname()) {
		return raw, nil
	}
	t, err := r.one(ctx, u.Hostname())
	if err != nil {
		return "", err
	}
	port := 80
	if p := u.Port(); p != "" {
		port, _ = strconv.Atoi(p) // url.Parse has seen that it is a number
	}
	address, err := r.address(ctx, t, port)
	if err != nil {
		return "", err
	}
	u.Host = address
	return u.String(), nil
}

// startSources makes load and numbers flow.
func (r *run) startSources() bool {
	if r.ending() {
		return false
	}
	if err := r.sources.start(); err != nil {
		r.finish(journal.Stopping{Ending: report.Refused, Reason: err.Error()})
		return false
	}
	return true
}

func (s *sources) start() error {
	exp := s.r.exp
	interval := tickDefault
	config := sli.Config{Store: s.store, Traffic: map[string]*sli.Results{}, Probes: map[string]*sli.Results{}, BlindAfter: blindLimit}
	switch {
	case exp.Metrics != nil:
		interval = exp.Metrics.Interval
		config.Interval = interval
	case exp.Prometheus != nil:
		server, err := sli.NewPrometheusServer(*exp.Prometheus)
		if err != nil {
			return err
		}
		config.Prometheus, interval = server, exp.Prometheus.Interval
	}
	for _, t := range exp.Traffic {
		options, err := s.options(t.Name, interval)
		if err != nil {
			return err
		}
		sender, err := sli.NewTraffic(t, options)
		if err != nil {
			return err
		}
		s.senders[t.Name], config.Traffic[t.Name] = sender, sender.Results()
	}
	for _, p := range exp.Probes {
		options, err := s.options(p.Name, interval)
		if err != nil {
			return err
		}
		sender, err := sli.NewProbe(p, options)
		if err != nil {
			return err
		}
		s.senders[p.Name], config.Probes[p.Name] = sender, sender.Results()
	}
	s.eval = sli.NewEvaluator(config)
	s.r.watch.configure(exp.Aborts, interval)

	// The traffic goes on through an abort: it is how the recovery is seen.
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	if exp.Metrics != nil {
		s.scrape(ctx, *exp.Metrics)
	}
	for _, t := range exp.Traffic {
		s.r.journal.Record(journal.Traffic{Name: t.Name, URL: t.URL, Resolved: s.urls[t.Name], Arrivals: t.Arrivals})
	}
	for _, sender := range s.senders {
		sender.Start(ctx)
	}
	return nil
}

func (s *sources) options(name string, interval time.Duration) (sli.TrafficOptions, error) {
	file, err := os.Create(s.r.file("requests-" + fileName(name) + ".csv"))
	if err != nil {
		return sli.TrafficOptions{}, fmt.Errorf("cannot keep the requests: %w", err)
	}
	s.csv = append(s.csv, file)
	var bounds []float64
	for _, o := range s.r.exp.SLOs {
		if o.SLI.Of == name && o.SLI.Q > 0 && o.Max != nil {
			bounds = append(bounds, *o.Max)
		}
	}
	return sli.TrafficOptions{
		URL: s.urls[name], Store: s.store, CSV: file, Interval: interval, Bounds: bounds, Now: s.r.now,
		Event: func(msg string) { s.r.journal.Record(journal.Note{Text: msg}) },
	}, nil
}

// fileName makes a name fit for a file.
func fileName(name string) string {
	return strings.Map(func(c rune) rune {
		if c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '_'
	}, name)
}

func (s *sources) scrape(ctx context.Context, m spec.Metrics) {
	s.scraper = &sli.Scraper{
		Store: s.store, Fetch: s.r.fetch, Interval: m.Interval, Timeout: m.Timeout, Now: s.r.now,
		OnSample: func(t time.Time) {
			s.tellSources()
			s.r.watch.sampled(t)
		},
	}
	for _, endpoint := range m.Scrape {
		instance, _, _ := strings.Cut(endpoint, "/")
		s.scraper.Endpoints = append(s.scraper.Endpoints, sli.Endpoint{Name: endpoint, Labels: map[string]string{"instance": instance}})
	}
	s.scraping.Go(func() { s.scraper.Run(ctx) })
}

// tellSources writes down when an endpoint goes and when it comes back.
func (s *sources) tellSources() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, src := range s.store.Sources() {
		gone := !src.FailingSince.IsZero()
		if gone != s.down[src.Name] {
			s.down[src.Name] = gone
			s.r.journal.Record(journal.Source{Name: src.Name, Up: !gone, Why: src.Err})
		}
	}
}

// fetch scrapes one endpoint: a target's port through the agent, inside its
// network namespace; anything else from here.
func (r *run) fetch(ctx context.Context, endpoint string) (string, []byte, error) {
	e, err := r.placeOf(ctx, endpoint)
	if err != nil {
		return "", nil, err
	}
	contentType, body, err := r.fetchFrom(ctx, e)
	if err != nil {
		r.places.Delete(endpoint) // it may have been re-created meanwhile
	}
	return contentType, body, err
}

// placeOf remembers where an endpoint is until a scrape of it fails.
func (r *run) placeOf(ctx context.Context, endpoint string) (place, error) {
	if known, ok := r.places.Load(endpoint); ok {
		return known.(place), nil
	}
	e, err := r.endpoint(ctx, endpoint)
	if err == nil {
		r.places.Store(endpoint, e)
	}
	return e, err
}

func (r *run) fetchFrom(ctx context.Context, e place) (string, []byte, error) {
	var got protocol.Fetched
	timeout := r.exp.Metrics.Timeout
	if e.plain != "" {
		reply, err := r.get(ctx, e.plain)
		if err != nil {
			return "", nil, err
		}
		got = reply
	} else if err := r.agent.call(ctx, timeout+time.Second, protocol.CallFetch, protocol.Fetch{
		Container: e.target.ID, Port: e.port, Path: e.path, Timeout: timeout, MaxBytes: maxExposition,
		Headers: map[string]string{"Accept": "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.8"},
	}, &got); err != nil {
		return "", nil, err
	}
	if got.Status != http.StatusOK {
		return "", nil, fmt.Errorf("got status %d, want 200", got.Status)
	}
	return got.ContentType, got.Body, nil
}

const maxExposition = 4 << 20 // bytes of one scrape

type place struct {
	plain  string // a URL to be asked from here
	target fault.Target
	port   int
	path   string
}

// endpoint reads "api:8080/metrics" or a URL.
func (r *run) endpoint(ctx context.Context, endpoint string) (place, error) {
	raw := endpoint
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return place{}, protocol.Errorf(protocol.CodeBad, `got endpoint %q, want "target:port/path" or a URL`, endpoint)
	}
	if u.Path == "" {
		u.Path = "/metrics"
	}
	if isPlain(u.Hostname()) || u.Scheme == "https" {
		return place{plain: u.String()}, nil
	}
	port, err := net.LookupPort("tcp", u.Port())
	if err != nil || port == 0 {
		return place{}, protocol.Errorf(protocol.CodeBad, `got endpoint %q, want a port, as in "target:8080/metrics"`, endpoint)
	}
	t, err := r.one(ctx, u.Hostname())
	if err != nil {
		return place{}, err
	}
	return place{target: t, port: port, path: u.RequestURI()}, nil
}

func (s *sources) value(ctx context.Context, i spec.SLI, w sli.Window) sli.Value {
	return s.eval.Value(ctx, i, w)
}

func (s *sources) judge(ctx context.Context, o spec.SLO, w sli.Window) sli.Judgement {
	return s.eval.Judge(ctx, o, w)
}

// stop ends the load and the scrapes, and closes the files of requests.
func (s *sources) stop() {
	s.stopOnce.Do(func() {
		for _, name := range slices.Sorted(maps.Keys(s.senders)) {
			if err := s.senders[name].Stop(); err != nil {
				s.r.journal.Record(journal.Failure{Where: name, Message: err.Error()})
			}
		}
		if s.cancel != nil {
			s.cancel()
		}
		s.scraping.Wait()
		for _, file := range s.csv {
			if err := file.Close(); err != nil {
				s.r.journal.Record(journal.Failure{Where: filepath.Base(file.Name()), Message: err.Error()})
			}
		}
	})
}

// writeMetrics keeps every sample, for whoever wants to recompute a figure.
func (s *sources) writeMetrics(path string) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot keep the metrics: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return s.store.WriteOpenMetrics(file)
}

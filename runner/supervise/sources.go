package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
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
		declared := *exp.Prometheus
		var err error
		if declared.Headers, err = s.r.secrets.Load().headers(declared.Headers); err != nil {
			return err
		}
		server, err := sli.NewPrometheusServer(declared)
		if err != nil {
			return err
		}
		config.Prometheus, interval = server, exp.Prometheus.Interval
	}
	if err := s.prepare(interval, &config); err != nil {
		return err
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

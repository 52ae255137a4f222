package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// Deadline is how long the live catalogue may take before the cache answers.
	Deadline = 200 * time.Millisecond

	refreshEvery = time.Second
	threshold    = 5
	backlog      = 64
)

// ErrUnavailable means that neither the catalogue nor the cache could answer.
var ErrUnavailable = errors.New("catalog unavailable, and nothing in the cache")

var errOpen = errors.New("catalog: not asked, it failed just now")

type source interface {
	Product(ctx context.Context, id string) (Product, bool, error)
	Products(ctx context.Context) ([]Product, bool, error)
}

type store interface {
	Product(ctx context.Context, id string) (Product, error)
	Products(ctx context.Context) ([]Product, error)
	Save(ctx context.Context, p Product) error
	SaveAll(ctx context.Context, all []Product) error
}

// Fallback answers from the live catalogue, and from the cache when that fails.
type Fallback struct {
	live     source
	cache    store
	log      *slog.Logger
	breaker  breaker
	seen     chan Product
	uncached bool
	degraded prometheus.Gauge
	served   prometheus.Counter
}

// NewFallback puts cache behind live. Run must run for the cache to fill and the breaker to close.
func NewFallback(live source, cache store, log *slog.Logger, reg prometheus.Registerer) *Fallback {
	f := &Fallback{
		live:    live,
		cache:   cache,
		log:     log,
		breaker: breaker{threshold: threshold},
		seen:    make(chan Product, backlog),
		degraded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "catalog_degraded",
			Help: "1 while the catalogue is served from the cache because the catalog service fails.",
		}),
		served: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "catalog_fallback_total",
			Help: "Look-ups answered from the cache because the catalog service failed.",
		}),
	}
	reg.MustRegister(f.degraded, f.served)
	return f
}

// Product looks one product up; degraded says that the answer came from the cache.
func (f *Fallback) Product(ctx context.Context, id string) (p Product, degraded bool, err error) {
	err = f.ask(ctx, func(ctx context.Context) (err error) {
		p, _, err = f.live.Product(ctx, id)
		return err
	})
	switch {
	case err == nil:
		f.remember(p)
		return p, false, nil
	case errors.Is(err, ErrUnknown) || ctx.Err() != nil:
		return Product{}, false, err
	}
	p, cacheErr := f.cache.Product(ctx, id)
	return p, true, f.fellBack(err, cacheErr)
}

// Products lists what is for sale.
func (f *Fallback) Products(ctx context.Context) (all []Product, degraded bool, err error) {
	err = f.ask(ctx, func(ctx context.Context) (err error) {
		all, _, err = f.live.Products(ctx)
		return err
	})
	if err == nil || ctx.Err() != nil {
		return all, false, err
	}
	all, cacheErr := f.cache.Products(ctx)
	return all, true, f.fellBack(err, cacheErr)
}

// Run refreshes the cache until ctx ends, and so finds out when the catalogue is back.
func (f *Fallback) Run(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for f.refresh(ctx); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-tick.C:
			f.refresh(ctx)
		case p := <-f.seen:
			f.cached(ctx, f.cache.Save(ctx, p))
		}
	}
}

func (f *Fallback) refresh(ctx context.Context) {
	var all []Product
	err := f.call(ctx, func(ctx context.Context) (err error) {
		all, _, err = f.live.Products(ctx)
		return err
	})
	if err == nil {
		f.cached(ctx, f.cache.SaveAll(ctx, all))
	}
}

func (f *Fallback) ask(ctx context.Context, call func(context.Context) error) error {
	if f.breaker.open() {
		return errOpen
	}
	return f.call(ctx, call)
}

// call asks the live catalogue within the deadline and takes note of how it did.
func (f *Fallback) call(ctx context.Context, call func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	err := call(within)
	ok := err == nil || errors.Is(err, ErrUnknown)
	if !ok && ctx.Err() != nil {
		return err // our caller gave up; that says nothing about the catalogue
	}
	wasOpen := f.breaker.open()
	f.breaker.report(ok)
	if ok {
		f.degraded.Set(0)
	} else {
		f.degraded.Set(1)
	}
	if isOpen := f.breaker.open(); isOpen != wasOpen {
		f.log.Warn("catalog breaker", "open", isOpen, "error", err)
	}
	return err
}

// remember hands p to Run for the cache. A checkout does not wait for Redis: when Run is behind, p is dropped and
// the next refresh brings it.
func (f *Fallback) remember(p Product) {
	select {
	case f.seen <- p:
	default:
	}
}

func (f *Fallback) fellBack(live, cache error) error {
	switch {
	case cache == nil:
		f.served.Inc()
		return nil
	case errors.Is(cache, ErrUnknown):
		return cache
	}
	return fmt.Errorf("%w: %w; %w", ErrUnavailable, live, cache)
}

// cached logs when the cache begins to refuse writes and when it takes them again, not every time. Only Run calls it.
func (f *Fallback) cached(ctx context.Context, err error) {
	if failing := err != nil; failing != f.uncached && ctx.Err() == nil {
		f.uncached = failing
		f.log.Warn("catalogue cache", "failing", failing, "error", err)
	}
}

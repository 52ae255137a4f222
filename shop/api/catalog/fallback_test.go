package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"chaosrunner/shop/api/dependency"
)

var tea = Product{ID: "tea", Name: "Tea", PriceCents: 1490}

// liveCatalog is a real HTTP server that sells tea until told to misbehave.
type liveCatalog struct {
	*httptest.Server
	asked  atomic.Int64
	sick   atomic.Bool // answers 500
	silent atomic.Bool // does not answer at all
}

func newLiveCatalog(t *testing.T) *liveCatalog {
	c := &liveCatalog{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.asked.Add(1)
		switch {
		case c.silent.Load():
			<-r.Context().Done()
		case c.sick.Load():
			http.Error(w, "sick", http.StatusInternalServerError)
		case r.URL.Path == "/products":
			_ = json.NewEncoder(w).Encode(map[string]any{"products": []Product{tea}})
		case r.URL.Path == "/products/tea":
			_ = json.NewEncoder(w).Encode(tea)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// memory is a cache without Redis.
type memory struct {
	mu  sync.Mutex
	all map[string]Product
}

func (m *memory) Product(_ context.Context, id string) (Product, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch p, ok := m.all[id]; {
	case ok:
		return p, nil
	case len(m.all) > 0:
		return Product{}, ErrUnknown
	}
	return Product{}, errNotCached
}

func (m *memory) Products(context.Context) (list []Product, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.all) == 0 {
		return nil, errNotCached
	}
	for _, p := range m.all {
		list = append(list, p)
	}
	return list, nil
}

func (m *memory) Save(ctx context.Context, p Product) error { return m.SaveAll(ctx, []Product{p}) }

func (m *memory) SaveAll(_ context.Context, all []Product) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range all {
		m.all[p.ID] = p
	}
	return nil
}

type testFallback struct {
	*Fallback
	reg *prometheus.Registry
}

func newTestFallback(t *testing.T, url string) testFallback {
	reg := prometheus.NewRegistry()
	client := NewClient(url, &http.Client{Transport: &http.Transport{}}, dependency.New(reg))
	f := NewFallback(client, &memory{all: map[string]Product{}}, slog.New(slog.DiscardHandler), reg)
	return testFallback{f, reg}
}

// wantMetrics looks for whole lines of what a scrape would get.
func wantMetrics(t *testing.T, reg *prometheus.Registry, lines ...string) {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range lines {
		if !strings.Contains("\n"+w.Body.String(), "\n"+line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
}

// within bounds a test whose guard is gone, which would otherwise wait for ever.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestFallbackServesFromTheCacheAndRecovers(t *testing.T) {
	live := newLiveCatalog(t)
	f := newTestFallback(t, live.URL)
	ctx := within(t)
	f.refresh(ctx)

	if p, degraded, err := f.Product(ctx, "tea"); err != nil || degraded || p != tea {
		t.Fatalf("alive: got %v, degraded %v, %v", p, degraded, err)
	}
	live.sick.Store(true)
	if p, degraded, err := f.Product(ctx, "tea"); err != nil || !degraded || p != tea {
		t.Fatalf("dead: got %v, degraded %v, %v", p, degraded, err)
	}
	if all, degraded, err := f.Products(ctx); err != nil || !degraded || len(all) != 1 {
		t.Fatalf("dead: got list %v, degraded %v, %v", all, degraded, err)
	}
	wantMetrics(t, f.reg, "catalog_degraded 1", "catalog_fallback_total 2")
	live.sick.Store(false)
	if _, degraded, err := f.Product(ctx, "tea"); err != nil || degraded {
		t.Fatalf("back: degraded %v, %v", degraded, err)
	}
	wantMetrics(t, f.reg, "catalog_degraded 0")
}

// Without the deadline the look-up would last as long as its caller has patience.
func TestFallbackDoesNotWaitForASilentCatalog(t *testing.T) {
	live := newLiveCatalog(t)
	f := newTestFallback(t, live.URL)
	ctx := within(t)
	f.refresh(ctx)
	live.silent.Store(true)

	if p, degraded, err := f.Product(ctx, "tea"); err != nil || !degraded || p != tea {
		t.Fatalf("got %v, degraded %v, %v", p, degraded, err)
	}
}

// Without the breaker every customer of a dead catalog would ask it, and pay the deadline.
func TestBreakerSparesCustomersUntilTheRefreshFindsTheCatalog(t *testing.T) {
	live := newLiveCatalog(t)
	f := newTestFallback(t, live.URL)
	ctx := within(t)
	f.refresh(ctx)
	live.sick.Store(true)
	before := live.asked.Load()
	for range 50 {
		if _, degraded, err := f.Product(ctx, "tea"); err != nil || !degraded {
			t.Fatalf("degraded %v, %v", degraded, err)
		}
	}
	if got := live.asked.Load() - before; got != threshold {
		t.Errorf("a dead catalog was asked %d times in 50 look-ups, want %d", got, threshold)
	}

	live.sick.Store(false)
	if _, degraded, _ := f.Product(ctx, "tea"); !degraded {
		t.Error("a customer's request was the trial of an open breaker")
	}
	f.refresh(ctx)
	if _, degraded, err := f.Product(ctx, "tea"); err != nil || degraded {
		t.Errorf("after the refresh: degraded %v, %v", degraded, err)
	}
}

func TestRunFindsTheCatalogByItself(t *testing.T) {
	live := newLiveCatalog(t)
	live.sick.Store(true)
	f := newTestFallback(t, live.URL)
	ctx := within(t)
	for range threshold {
		_, _, _ = f.Product(ctx, "tea")
	}
	asked := live.asked.Load()
	go f.Run(ctx)
	for live.asked.Load() == asked && ctx.Err() == nil { // its first look, which must not be its last
		time.Sleep(time.Millisecond)
	}
	live.sick.Store(false)
	for {
		_, degraded, err := f.Product(ctx, "tea")
		if err == nil && !degraded {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("still degraded %v, %v", degraded, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Bots that ask for products that do not exist must not switch the shop to its cache.
func TestUnknownProductIsNoFailure(t *testing.T) {
	live := newLiveCatalog(t)
	f := newTestFallback(t, live.URL)
	ctx := within(t)
	for range 2 * threshold {
		if _, _, err := f.Product(ctx, "nope"); !errors.Is(err, ErrUnknown) {
			t.Fatalf("got %v, want ErrUnknown", err)
		}
	}
	if f.breaker.open() {
		t.Error("unknown products opened the breaker")
	}
	wantMetrics(t, f.reg, "catalog_degraded 0")
}

func TestCallerWhoGivesUpIsNoFailure(t *testing.T) {
	live := newLiveCatalog(t)
	live.silent.Store(true)
	f := newTestFallback(t, live.URL)
	for range 2 * threshold {
		ctx, cancel := context.WithTimeout(within(t), time.Millisecond)
		_, _, err := f.Product(ctx, "tea")
		cancel()
		if err == nil {
			t.Fatal("got an answer, want the caller's own timeout")
		}
	}
	if f.breaker.open() {
		t.Error("callers who gave up opened the breaker")
	}
	wantMetrics(t, f.reg, "catalog_degraded 0")
}

func TestDegradedAndUnknownIsUnknown(t *testing.T) {
	live := newLiveCatalog(t)
	f := newTestFallback(t, live.URL)
	ctx := within(t)
	f.refresh(ctx)
	live.sick.Store(true)
	if _, _, err := f.Product(ctx, "nope"); !errors.Is(err, ErrUnknown) || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnknown and nothing else", err)
	}
}

func TestDegradedWithoutCacheIsUnavailable(t *testing.T) {
	live := newLiveCatalog(t)
	live.sick.Store(true)
	f := newTestFallback(t, live.URL)
	_, _, err := f.Product(within(t), "tea")
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "500") {
		t.Errorf("got %v, want ErrUnavailable and the reason", err)
	}
	wantMetrics(t, f.reg, "catalog_fallback_total 0")
}

// Nobody takes products from f.seen here, as when Redis hangs.
func TestCheckoutsDoNotWaitForTheCache(t *testing.T) {
	live := newLiveCatalog(t)
	f := newTestFallback(t, live.URL)
	ctx := within(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2 * backlog {
			_, _, _ = f.Product(ctx, "tea")
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("look-ups wait for the cache to be written")
	}
}

func TestFirstVersionDiesWithTheCatalog(t *testing.T) {
	live := newLiveCatalog(t)
	reg := prometheus.NewRegistry()
	deps := dependency.New(reg, "catalog")
	c := NewClient(live.URL, &http.Client{Timeout: 10 * time.Second}, deps)
	if p, _, err := c.Product(within(t), "tea"); err != nil || p != tea {
		t.Fatalf("alive: got %v, %v", p, err)
	}
	live.Close()
	if _, _, err := c.Product(within(t), "tea"); err == nil {
		t.Fatal("dead: got no error")
	}
	wantMetrics(t, reg,
		`dependency_requests_total{dependency="catalog",outcome="ok"} 1`,
		`dependency_requests_total{dependency="catalog",outcome="error"} 1`,
		`dependency_requests_total{dependency="catalog",outcome="timeout"} 0`)
}

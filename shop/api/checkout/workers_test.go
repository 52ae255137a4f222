package checkout

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"chaosrunner/shop/api/catalog"
	"chaosrunner/shop/internal/service"
)

// full is a catalogue that is always there.
type full struct{}

func (full) Product(context.Context, string) (catalog.Product, bool, error) {
	return catalog.Product{ID: "tea", PriceCents: 1}, false, nil
}

func (full) Products(context.Context) ([]catalog.Product, bool, error) { return nil, false, nil }

// stuck places no order before its customer gives up.
type stuck struct{ entered chan struct{} }

func (s stuck) Place(ctx context.Context, _ Item) (Receipt, error) {
	s.entered <- struct{}{}
	<-ctx.Done()
	return Receipt{}, ctx.Err()
}

// Routes that share their workers share their troubles: two checkouts that hang
// leave nobody who could list the products. Apart, the listing goes on.
func TestSharedWorkers(t *testing.T) {
	for name, shared := range map[string]bool{"shared": true, "apart": false} {
		t.Run(name, func(t *testing.T) {
			routes, placer := service.NewRoutes(), stuck{entered: make(chan struct{})}
			workers := NewWorkers(2, routes.Registry)
			pools := Pools{Products: workers}
			if shared {
				pools.Checkout = workers
			}
			Register(routes, full{}, placer, slog.New(slog.DiscardHandler), pools)
			hanging, giveUp := context.WithCancel(t.Context())
			for range 2 {
				go ask(hanging, routes, http.MethodPost, "/checkout")
				<-placer.entered
			}
			listed := make(chan int, 1)
			patient, leave := context.WithCancel(t.Context())
			go func() { listed <- ask(patient, routes, http.MethodGet, "/products") }()
			if shared {
				wait(t, routes, "http_requests_waiting 1", "http_workers_busy 2")
				leave()
				if code := <-listed; code != http.StatusServiceUnavailable {
					t.Errorf("got %d from who has given up waiting", code)
				}
				wait(t, routes, "http_requests_waiting 0", "http_workers 2")
			} else if code := <-listed; code != http.StatusOK {
				t.Errorf("got %d", code)
			}
			leave()
			giveUp()
			wait(t, routes, "http_workers_busy 0")
			if code := ask(t.Context(), routes, http.MethodGet, "/products"); code != http.StatusOK {
				t.Errorf("got %d once there are workers again", code)
			}
		})
	}
}

func ask(ctx context.Context, h http.Handler, method, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(`{"product":"tea","quantity":1}`)))
	return w.Code
}

// wait waits until the metrics say all of it.
func wait(t *testing.T, h http.Handler, lines ...string) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		missing := ""
		for _, line := range lines {
			if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the metrics never say %s", missing)
		}
	}
}

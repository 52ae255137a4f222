package checkout

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"chaosrunner/shop/api/catalog"
	"chaosrunner/shop/api/dependency"
	"chaosrunner/shop/api/orders"
	"chaosrunner/shop/api/payments"
	"chaosrunner/shop/internal/service"
)

// shop is the API between a real catalog and a real provider over HTTP; only the database is a list.
type shop struct {
	*httptest.Server
	catalogStatus int
	paymentStatus int
	recordErr     error

	charged  int
	recorded []orders.Order
	routes   *service.Routes
}

func (s *shop) Record(_ context.Context, o orders.Order) (int64, error) {
	if s.recordErr != nil {
		return 0, s.recordErr
	}
	s.recorded = append(s.recorded, o)
	return int64(len(s.recorded)), nil
}

func newShop(t *testing.T) *shop {
	s := &shop{catalogStatus: http.StatusOK, paymentStatus: http.StatusCreated, routes: service.NewRoutes()}
	catalogServer := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status := s.catalogStatus
		if status == http.StatusOK && r.URL.Path == "/products/nope" {
			status = http.StatusNotFound
		}
		service.WriteJSON(w, status, catalog.Product{ID: "tea", PriceCents: 1490})
	})
	paymentServer := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if s.paymentStatus == http.StatusCreated {
			s.charged++
		}
		service.WriteJSON(w, s.paymentStatus, payments.Charge{ID: "ch_1"})
	})
	deps := dependency.New(s.routes.Registry)
	placer := &ChargeFirst{Payments: payments.NewClient(paymentServer.URL, paymentServer.Client(), deps), Orders: s}
	Register(s.routes, catalog.NewClient(catalogServer.URL, catalogServer.Client(), deps), placer, slog.New(slog.DiscardHandler), Pools{})
	s.Server = serve(t, s.routes.ServeHTTP)
	return s
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

func (s *shop) checkout(t *testing.T, body string) (code int, got map[string]any) {
	resp, err := http.Post(s.URL+"/checkout", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, got
}

func TestCheckoutOutcomes(t *testing.T) {
	const two = `{"product":"tea","quantity":2}`
	for _, c := range []struct {
		name     string
		body     string
		trouble  func(*shop)
		code     int
		outcome  string
		charged  int
		recorded int
	}{
		{"sold", two, nil, 200, "ok", 1, 1},
		{"unknown product", `{"product":"nope","quantity":1}`, nil, 404, "unknown_product", 0, 0},
		{"no product", `{"quantity":1}`, nil, 400, "bad_request", 0, 0},
		{"nothing of it", `{"product":"tea","quantity":0}`, nil, 400, "bad_request", 0, 0},
		{"too much", `{"product":"tea","quantity":101}`, nil, 400, "bad_request", 0, 0},
		{"no JSON", `tea`, nil, 400, "bad_request", 0, 0},
		{"two values", two + two, nil, 400, "bad_request", 0, 0},
		{"unknown field", `{"product":"tea","quantity":1,"price":0}`, nil, 400, "bad_request", 0, 0},
		{"endless body", `{"product":"tea","quantity":1` + strings.Repeat(" ", 1<<20) + `}`, nil, 400, "bad_request", 0, 0},
		{"catalog sick", two, func(s *shop) { s.catalogStatus = 500 }, 502, "catalog_failed", 0, 0},
		{"provider sick", two, func(s *shop) { s.paymentStatus = 500 }, 502, "payment_failed", 0, 0},
		// The third weakness of the first version: the customer has paid.
		{"database sick", two, func(s *shop) { s.recordErr = errors.New("disk full") }, 503, "order_failed", 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t)
			if c.trouble != nil {
				c.trouble(s)
			}
			code, got := s.checkout(t, c.body)
			if code != c.code {
				t.Errorf("got status %d, want %d (%v)", code, c.code, got)
			}
			if s.charged != c.charged || len(s.recorded) != c.recorded {
				t.Errorf("charged %d and recorded %d, want %d and %d", s.charged, len(s.recorded), c.charged, c.recorded)
			}
			if message, failed := got["error"].(string); failed != (c.code != 200) || strings.Contains(message, "disk full") {
				t.Errorf("got answer %v", got)
			}
			want := `checkouts_total{outcome="` + c.outcome + `"} 1`
			if metrics := s.metrics(t); !strings.Contains(metrics, want) {
				t.Errorf("metrics lack %s", want)
			}
		})
	}
}

func TestCheckoutAnswer(t *testing.T) {
	s := newShop(t)
	_, got := s.checkout(t, `{"product":"tea","quantity":2}`)
	for field, want := range map[string]any{
		"order": 1., "product": "tea", "quantity": 2., "amount_cents": 2980., "charge": "ch_1", "degraded": false,
	} {
		if got[field] != want {
			t.Errorf("%s: got %v, want %v", field, got[field], want)
		}
	}
	if want := (orders.Order{Product: "tea", Quantity: 2, AmountCents: 2980, Charge: "ch_1"}); len(s.recorded) != 1 || s.recorded[0] != want {
		t.Errorf("recorded %v, want %v", s.recorded, want)
	}
}

// A ratio of errors needs both its series before the first error.
func TestSeriesExistBeforeTheFirstRequest(t *testing.T) {
	metrics := newShop(t).metrics(t)
	for _, want := range []string{
		`http_requests_total{code="200",handler="/checkout",method="post"} 0`,
		`http_requests_total{code="502",handler="/checkout",method="post"} 0`,
		`http_requests_total{code="503",handler="/checkout",method="post"} 0`,
		`checkouts_total{outcome="order_failed"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func (s *shop) metrics(t *testing.T) string {
	w := httptest.NewRecorder()
	s.routes.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

package payments

import (
	"context"
	"errors"
	"net"
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
	"chaosrunner/shop/internal/service"
)

type shop struct {
	*Budget
	reg    *prometheus.Registry
	opened atomic.Int64
}

func newShop(t *testing.T, h http.HandlerFunc) *shop {
	s := &shop{reg: prometheus.NewRegistry()}
	server := httptest.NewUnstartedServer(h)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	s.Budget = NewBudget(server.URL, dependency.New(s.reg), s.reg)
	s.deadline = time.Minute // this machine may be busy
	t.Cleanup(s.client.http.CloseIdleConnections)
	return s
}

func (s *shop) has(t *testing.T, lines ...string) {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	for _, line := range lines {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
}

var tea = Request{AmountCents: 100, Reference: "tea"}

func TestMoreThanTheSlotsAreRejectedAtOnce(t *testing.T) {
	release := make(chan struct{})
	var entered sync.WaitGroup
	entered.Add(Slots)
	s := newShop(t, func(w http.ResponseWriter, r *http.Request) {
		entered.Done()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		service.WriteJSON(w, http.StatusCreated, Charge{ID: "ch_1"})
	})
	var done sync.WaitGroup
	for range Slots {
		done.Go(func() { _, _ = s.Charge(t.Context(), tea) })
	}
	entered.Wait()
	if _, err := s.Charge(t.Context(), tea); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrNotTaken) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	close(release)
	done.Wait()
	if len(s.slots) != 0 {
		t.Errorf("%d slots are still taken", len(s.slots))
	}
	s.has(t, "payments_rejected_total 1", "payments_in_flight 0", "payments_slots 32")
}

// The provider never answers: the deadline ends the charge, it is not asked for again, and its slot is free.
func TestDeadline(t *testing.T) {
	var asked atomic.Int64
	s := newShop(t, func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = r.Body.Read(make([]byte, 1<<10)) // so that the server notices a caller who hangs up
		<-r.Context().Done()
	})
	s.deadline = Deadline
	if _, err := s.Charge(t.Context(), tea); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNotTaken) {
		t.Errorf("got %v, want the deadline, and that nobody knows", err)
	}
	if n := asked.Load(); n > 1 {
		t.Errorf("asked %d times, want once", n)
	}
	s.has(t, "payments_deadline_exceeded_total 1", "payments_retries_total 0", "payments_in_flight 0")
}

func TestRetriesAreUnderOneKeyAndBounded(t *testing.T) {
	const charges = 200
	var mu sync.Mutex
	asked := map[string]int{}
	s := newShop(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.Header.Get("Idempotency-Key")]++
		service.WriteError(w, http.StatusInternalServerError, "sick")
	})
	for range charges {
		if _, err := s.Charge(t.Context(), tea); err == nil || errors.Is(err, ErrNotTaken) {
			t.Fatalf("got %v, want an error after which nobody knows", err)
		}
	}
	total := 0
	for key, n := range asked {
		total += n
		if n > 2 || key == "" {
			t.Errorf("%d charges under the key %q", n, key)
		}
	}
	if most := charges + retryMost + charges/10 + 1; len(asked) != charges || total > most || total < charges+retryMost {
		t.Errorf("asked %d times under %d keys for %d charges, want %d to %d under as many keys", total, len(asked), charges, charges+retryMost, most)
	}
}

func TestSecondTryCounts(t *testing.T) {
	var asked atomic.Int64
	s := newShop(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			service.WriteError(w, http.StatusInternalServerError, "sick")
			return
		}
		service.WriteJSON(w, http.StatusCreated, Charge{ID: "ch_1"})
	})
	if c, err := s.Charge(t.Context(), tea); err != nil || c.ID != "ch_1" {
		t.Errorf("got %v, %v", c, err)
	}
	s.has(t, "payments_retries_total 1", "payments_retries_denied_total 0")
}

// What the provider refuses it will refuse again.
func TestRefusedChargeIsNotRetried(t *testing.T) {
	s := newShop(t, func(w http.ResponseWriter, _ *http.Request) {
		service.WriteError(w, http.StatusUnprocessableEntity, "voided")
	})
	if _, err := s.Charge(t.Context(), tea); !errors.Is(err, ErrNotTaken) {
		t.Errorf("got %v, want ErrNotTaken", err)
	}
	s.has(t, "payments_retries_total 0")
}

func TestVoid(t *testing.T) {
	var got string
	s := newShop(t, func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			Key string `json:"key"`
		}
		_ = service.ReadJSON(w, r, &req)
		got = r.Method + " " + r.URL.Path + " " + req.Key
		service.WriteJSON(w, http.StatusCreated, map[string]any{"void": req.Key})
	})
	if err := s.Void(t.Context(), "k"); err != nil || got != "POST /voids k" {
		t.Errorf("got %q, %v", got, err)
	}
}

// After Warm's round there is a connection for each slot, and as many charges at once open hardly any more: one that has
// just been used is given back a moment later.
func TestWarmOpensAConnectionForEachSlot(t *testing.T) {
	release := make(chan struct{})
	var entered sync.WaitGroup
	entered.Add(Slots)
	s := newShop(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/charges" {
			entered.Done()
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		service.WriteJSON(w, http.StatusOK, Charge{ID: "ch_1"})
	})
	// Handshakes one after another: the first connection could serve all of a round.
	var handshake sync.Mutex
	transport := s.client.http.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		handshake.Lock()
		defer handshake.Unlock()
		time.Sleep(2 * time.Millisecond)
		return dial(ctx, network, addr)
	}
	for round, opened := 0, int64(0); opened < Slots; round++ { // a busy machine may look like a slow provider
		if round == 100 {
			t.Fatalf("a round opened %d connections, want %d", opened, Slots)
		}
		s.client.http.CloseIdleConnections()
		was := s.opened.Load()
		s.warm(t.Context())
		opened = s.opened.Load() - was
	}
	before := s.opened.Load()
	var done sync.WaitGroup
	for range Slots {
		done.Go(func() { _, _ = s.Charge(t.Context(), tea) })
	}
	entered.Wait()
	close(release)
	done.Wait()
	if n := s.opened.Load() - before; n > Slots/2 {
		t.Errorf("%d charges opened %d more connections", Slots, n)
	}
}

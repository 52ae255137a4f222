package payments

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chaosrunner/shop/api/dependency"
)

const (
	// Deadline is what one charge may take, its retry included. With what the rest of a checkout takes it must stay
	// well under a customer's patience; a provider half a second late is still in it.
	Deadline = 800 * time.Millisecond
	// Slots is how many charges may be under way. 40 checkouts a second need 18 with a provider 450 ms late.
	Slots = 32

	retryShare = 0.1 // of charges: a provider in trouble gets at most a tenth more work from us
	retryMost  = 10  // retries saved up in good times
)

// ErrBusy is a charge that was not even begun, because as many as may be are under way.
var ErrBusy = fmt.Errorf("payments: %d charges are under way: %w", Slots, ErrNotTaken)

// Budget bounds what a slow or dying provider can cost the shop:
//
//	Charge ── no slot free ──▶ ErrBusy, at once
//	   └─ slot ──▶ Client.Charge ── fails before the deadline ──▶ once more, under the same key, if the budget has a retry
//	                   └── deadline ──▶ given up
type Budget struct {
	client   *Client
	slots    chan struct{}
	deadline time.Duration

	mu      sync.Mutex
	retries float64 // saved up

	rejected, retried, unretried, late prometheus.Counter
}

// NewBudget bounds the charges to the provider at url. Keep its connections open with Warm.
func NewBudget(url string, metrics *dependency.Metrics, reg prometheus.Registerer) *Budget {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "payments_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	b := &Budget{
		client:    NewClient(url, newHTTP(), metrics),
		slots:     make(chan struct{}, Slots),
		deadline:  Deadline,
		retries:   retryMost,
		rejected:  counter("rejected_total", "Charges rejected at once, because all slots were taken."),
		retried:   counter("retries_total", "Charges asked for a second time, under the same key."),
		unretried: counter("retries_denied_total", "Charges that failed and were not asked for again, because the budget was used up."),
		late:      counter("deadline_exceeded_total", "Charges given up at the deadline."),
	}
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "payments_in_flight", Help: "Charges under way; each has a slot."},
			func() float64 { return float64(len(b.slots)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "payments_slots", Help: "Charges that may be under way at once."},
			func() float64 { return Slots }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "payments_retry_budget", Help: "Retries saved up."},
			func() float64 { b.mu.Lock(); defer b.mu.Unlock(); return b.retries }),
	)
	return b
}

// newHTTP keeps a connection for each slot. The default of two would have most charges of a slow provider wait for a
// handshake that is as slow, first. A dial outlives the charge that wanted it, and serves a later one.
func newHTTP() *http.Client {
	dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 5 * time.Second}
	return &http.Client{Transport: &http.Transport{
		DialContext:         dialer.DialContext,
		MaxIdleConnsPerHost: Slots,
		IdleConnTimeout:     50 * time.Second, // the provider hangs up after a minute
	}}
}

// Charge takes r.AmountCents within Deadline, or fails. It makes up a key where r has none.
func (b *Budget) Charge(ctx context.Context, r Request) (Charge, error) {
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	default:
		b.rejected.Inc()
		return Charge{}, ErrBusy
	}
	if r.Key == "" {
		r.Key = rand.Text()
	}
	ctx, cancel := context.WithTimeout(ctx, b.deadline)
	defer cancel()
	b.earn()
	charge, err := b.client.Charge(ctx, r)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotTaken) && b.spend() {
		charge, err = b.client.Charge(ctx, r)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		b.late.Inc()
	}
	return charge, err
}

// Void gives the money taken under key back. It is rare and must not be rejected, so it takes no slot.
func (b *Budget) Void(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, b.deadline)
	defer cancel()
	return b.client.Void(ctx, key)
}

func (b *Budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retries = min(b.retries+retryShare, retryMost)
}

func (b *Budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.retries < 1 {
		b.unretried.Inc()
		return false
	}
	b.retries--
	b.retried.Inc()
	return true
}

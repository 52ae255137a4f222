package checkout

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chaosrunner/shop/api/orders"
)

const settleEvery = time.Second

type unsettled interface {
	// Abandon claims the orders that nobody will confirm any more; no Confirm of theirs succeeds after it.
	Abandon(ctx context.Context) ([]orders.Abandoned, error)
	// Voided says that nobody has paid for the order any more.
	Voided(ctx context.Context, id int64) error
}

// Settler gives back the money of orders that were never confirmed: their charge failed or hung, the database went
// away, or this process did.
type Settler struct {
	payments voider
	orders   unsettled
	log      *slog.Logger

	voided, failed prometheus.Counter
	left           prometheus.Gauge
	sick           atomic.Pointer[string]
}

// NewSettler registers the metrics of what it settles.
func NewSettler(p voider, o unsettled, log *slog.Logger, reg prometheus.Registerer) *Settler {
	s := &Settler{
		payments: p, orders: o, log: log,
		voided: prometheus.NewCounter(prometheus.CounterOpts{Name: "orders_settled_total", Help: "Orders that were never confirmed, and nobody has paid for any more."}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "orders_settle_errors_total", Help: "Rounds of settling that failed and are tried again."}),
		left:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "orders_unsettled", Help: "Orders found in the last round that still await their void."}),
	}
	reg.MustRegister(s.voided, s.failed, s.left)
	return s
}

// Run settles every second until ctx ends.
func (s *Settler) Run(ctx context.Context) {
	for {
		err := s.round(ctx)
		text := ""
		if err != nil && ctx.Err() == nil {
			s.failed.Inc()
			text = err.Error()
			s.log.WarnContext(ctx, "orders not settled", "error", err)
		}
		s.sick.Store(&text)
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleEvery):
		}
	}
}

func (s *Settler) round(ctx context.Context) error {
	found, err := s.orders.Abandon(ctx)
	if err != nil {
		return err
	}
	s.left.Set(float64(len(found)))
	var errs []error
	for _, o := range found {
		if err := s.settle(ctx, o); err != nil {
			errs = append(errs, err)
			continue
		}
		s.left.Dec()
		s.voided.Inc()
	}
	return errors.Join(errs...)
}

func (s *Settler) settle(ctx context.Context, o orders.Abandoned) error {
	if err := s.payments.Void(ctx, o.Key); err != nil {
		return err
	}
	return s.orders.Voided(ctx, o.ID)
}

// Trouble says why money may still have to be given back; "" when all is settled.
func (s *Settler) Trouble() string {
	if text := s.sick.Load(); text != nil {
		return *text
	}
	return "not looked yet"
}

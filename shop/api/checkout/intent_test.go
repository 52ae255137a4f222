package checkout

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"chaosrunner/shop/api/orders"
	"chaosrunner/shop/api/payments"
)

// till is provider and database in one. Money and orders are what they did, whatever they answered.
type till struct {
	mu     sync.Mutex
	state  map[int64]string // of orders
	keys   map[int64]string
	money  map[string]string // by key: "taken" or "voided"
	errs   map[string]error  // of a step, by its name
	lost   map[string]bool   // steps that are done though they answer with an error
	during func(step string) // something else happens first
}

func newTill() *till {
	return &till{state: map[int64]string{}, keys: map[int64]string{}, money: map[string]string{}, errs: map[string]error{}, lost: map[string]bool{}}
}

func (t *till) step(name string, do func()) error {
	if t.during != nil {
		t.during(name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.errs[name]
	if err == nil || t.lost[name] {
		do()
	}
	return err
}

func (t *till) Intend(_ context.Context, key string, _ orders.Order) (int64, error) {
	id := int64(len(t.keys) + 1)
	return id, t.step("intend", func() { t.state[id], t.keys[id] = "pending", key })
}

func (t *till) Charge(ctx context.Context, r payments.Request) (payments.Charge, error) {
	err := t.step("charge", func() {
		if t.money[r.Key] == "" {
			t.money[r.Key] = "taken"
		}
	})
	return payments.Charge{ID: "ch_1", AmountCents: r.AmountCents}, errors.Join(err, ctx.Err())
}

func (t *till) Confirm(ctx context.Context, id int64, _ string) (done bool, err error) {
	err = t.step("confirm", func() {
		if done = t.state[id] == "pending"; done {
			t.state[id] = "confirmed"
		}
	})
	return done, errors.Join(err, ctx.Err())
}

func (t *till) Void(_ context.Context, key string) error {
	return t.step("void", func() { t.money[key] = "voided" })
}

func (t *till) Voided(_ context.Context, id int64) error {
	return t.step("voided", func() { t.state[id] = "voided" })
}

func (t *till) Abandon(context.Context) (all []orders.Abandoned, err error) {
	err = t.step("abandon", func() {
		for id, state := range t.state {
			if state == "pending" || state == "voiding" {
				t.state[id] = "voiding"
				all = append(all, orders.Abandoned{ID: id, Key: t.keys[id]})
			}
		}
	})
	return all, err
}

// Whatever fails, at whichever step and whether or not it was done all the same: in the end there is money if and only
// if there is an order, and a customer with a receipt has both.
func TestMoneyAndOrdersAgreeInTheEnd(t *testing.T) {
	broken := errors.New("connection lost")
	full := errors.Join(orders.ErrNotWritten, errors.New("disk full"))
	for _, c := range []struct {
		name   string
		errs   map[string]error
		lost   string
		before string // money before the settler has run
		money  string
		state  string
		sold   bool
	}{
		{"sold", nil, "", "taken", "taken", "confirmed", true},
		{"disk full before", map[string]error{"intend": full}, "", "", "", "", false},
		{"intent unknown", map[string]error{"intend": broken}, "intend", "", "voided", "voided", false},
		{"provider refuses", map[string]error{"charge": payments.ErrBusy}, "", "", "", "voided", false},
		{"provider away", map[string]error{"charge": broken}, "", "", "voided", "voided", false},
		{"charge unknown, taken", map[string]error{"charge": broken}, "charge", "taken", "voided", "voided", false},
		{"disk full between", map[string]error{"confirm": full}, "", "voided", "voided", "voided", false},
		{"database gone", map[string]error{"confirm": broken}, "", "taken", "voided", "voided", false},
		{"confirmed and gone", map[string]error{"confirm": broken}, "confirm", "taken", "taken", "confirmed", false},
		{"disk full, provider away", map[string]error{"confirm": full, "void": broken}, "", "taken", "voided", "voided", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			till := newTill()
			till.errs = c.errs
			if c.lost != "" {
				till.lost[c.lost] = true
			}
			place := &IntentFirst{Payments: till, Orders: till, Log: slog.New(slog.DiscardHandler)}
			_, err := place.Place(t.Context(), Item{Product: "tea", Quantity: 1, AmountCents: 100})
			if sold := err == nil; sold != c.sold {
				t.Errorf("got %v, want sold: %v", err, c.sold)
			}
			if got := till.money[till.keys[1]]; got != c.before {
				t.Errorf("money before the settler: got %q, want %q", got, c.before)
			}
			till.errs = nil
			settler := NewSettler(till, till, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			for range 2 { // twice: what is settled stays so
				if err := settler.round(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if money, state := till.money[till.keys[1]], till.state[1]; money != c.money || state != c.state {
				t.Errorf("got money %q and order %q, want %q and %q", money, state, c.money, c.state)
			}
		})
	}
}

// An order is abandoned while its charge hangs: its confirmation must fail, else it would be sold for nothing.
func TestAbandonedOrderIsNotConfirmed(t *testing.T) {
	till := newTill()
	settler := NewSettler(till, till, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	till.during = func(step string) {
		if step == "confirm" {
			if err := settler.round(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	place := &IntentFirst{Payments: till, Orders: till, Log: slog.New(slog.DiscardHandler)}
	if _, err := place.Place(t.Context(), Item{AmountCents: 100}); !errors.Is(err, errOrder) {
		t.Errorf("got %v, want no order", err)
	}
	if till.money[till.keys[1]] != "voided" || till.state[1] != "voided" {
		t.Errorf("got %v, %v", till.money, till.state)
	}
}

// A customer who hangs up in the middle has bought.
func TestCustomerHangsUp(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	till := newTill()
	till.during = func(step string) {
		if step == "charge" {
			hangUp()
		}
	}
	place := &IntentFirst{Payments: till, Orders: till, Log: slog.New(slog.DiscardHandler)}
	if _, err := place.Place(ctx, Item{AmountCents: 100}); err != nil || till.state[1] != "confirmed" {
		t.Errorf("got %v, order %s", err, till.state[1])
	}
}

func TestSettlerSaysWhatIsLeft(t *testing.T) {
	till := newTill()
	till.state[1], till.keys[1] = "pending", "k"
	reg := prometheus.NewRegistry()
	settler := NewSettler(till, till, slog.New(slog.DiscardHandler), reg)
	if got := settler.Trouble(); got == "" {
		t.Error("well before it has looked")
	}
	till.errs["void"] = errors.New("provider away")
	if err := settler.round(t.Context()); err == nil || !strings.Contains(err.Error(), "provider away") {
		t.Errorf("got %v", err)
	}
	if got := gauge(t, reg, "orders_unsettled"); got != 1 {
		t.Errorf("orders_unsettled: got %v, want 1", got)
	}
	till.errs = nil
	if err := settler.round(t.Context()); err != nil {
		t.Error(err)
	}
	if left, done := gauge(t, reg, "orders_unsettled"), gauge(t, reg, "orders_settled_total"); left != 0 || done != 1 {
		t.Errorf("got %v unsettled, %v settled, want 0 and 1", left, done)
	}
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

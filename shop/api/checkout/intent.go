package checkout

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"chaosrunner/shop/api/orders"
	"chaosrunner/shop/api/payments"
)

// errSettled is an order given up by Settle while its charge was still under way.
var errSettled = errors.New("given up as too old")

type voider interface {
	payer
	Void(ctx context.Context, key string) error
}

type intents interface {
	Intend(ctx context.Context, key string, o orders.Order) (int64, error)
	Confirm(ctx context.Context, id int64, charge string) (done bool, err error)
	Voided(ctx context.Context, id int64) error
}

// IntentFirst never takes money that it could forget (ORDER_INTENT=on):
//
//	Intend ──▶ Charge under the order's key ──▶ Confirm ──▶ receipt
//	  │fails     │fails                           │fails
//	  ▼          ▼                                ├─ surely not written ──▶ Void at once
//	nothing    the order stays pending            └─ who knows: the order stays pending or is confirmed
//	taken                 └───────────▶ Settle finds it: Void, if it is not confirmed
//
// The order's row is there before the money is asked for, so a full disk is noticed in time, and its confirmation
// mostly needs no new page.
type IntentFirst struct {
	Payments voider
	Orders   intents
	Log      *slog.Logger
}

// Place records what is to be sold, takes the money and confirms. From the charge on a customer who hangs up changes
// nothing: half a sale is dearer than a whole one.
func (c *IntentFirst) Place(ctx context.Context, item Item) (Receipt, error) {
	key := rand.Text()
	id, err := c.Orders.Intend(ctx, key, item.order())
	if err != nil {
		return Receipt{}, fmt.Errorf("%w, nothing charged: %w", errOrder, err)
	}
	ctx = context.WithoutCancel(ctx)
	charge, err := c.Payments.Charge(ctx, payments.Request{AmountCents: item.AmountCents, Reference: item.Product, Key: key})
	if err != nil {
		if errors.Is(err, payments.ErrNotTaken) {
			c.log(ctx, "not marked as voided yet", id, c.Orders.Voided(ctx, id))
		}
		return Receipt{}, fmt.Errorf("%w: %w", errPayment, err)
	}
	done, err := c.Orders.Confirm(ctx, id, charge.ID)
	switch {
	case errors.Is(err, orders.ErrNotWritten):
		c.log(ctx, "not voided yet", id, c.Payments.Void(ctx, key))
		return Receipt{}, fmt.Errorf("%w, charge %s: %w", errOrder, charge.ID, err)
	case err != nil:
		return Receipt{}, fmt.Errorf("%w, charge %s is to be settled: %w", errOrder, charge.ID, err)
	case !done:
		return Receipt{}, fmt.Errorf("%w, charge %s: %w", errOrder, charge.ID, errSettled)
	}
	return Receipt{Order: id, Charge: charge.ID}, nil
}

// log tells of a step that Settle will have to do again.
func (c *IntentFirst) log(ctx context.Context, what string, id int64, err error) {
	if err != nil {
		c.Log.WarnContext(ctx, what, "order", id, "error", err)
	}
}

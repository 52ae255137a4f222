package checkout

import (
	"context"
	"errors"
	"fmt"

	"chaosrunner/shop/api/orders"
	"chaosrunner/shop/api/payments"
)

var (
	errPayment = errors.New("payment failed")
	errOrder   = errors.New("order not recorded")
)

type payer interface {
	Charge(ctx context.Context, r payments.Request) (payments.Charge, error)
}

type recorder interface {
	Record(ctx context.Context, o orders.Order) (int64, error)
}

// Item is what a customer wants, priced.
type Item struct {
	Product     string
	Quantity    int
	AmountCents int64
}

func (i Item) order() orders.Order {
	return orders.Order{Product: i.Product, Quantity: i.Quantity, AmountCents: i.AmountCents}
}

// Receipt is what a customer gets.
type Receipt struct {
	Order  int64
	Charge string
}

// ChargeFirst is the first version of taking an order: charge, then write it down.
type ChargeFirst struct {
	Payments payer
	Orders   recorder
}

// Place takes the money and records the order.
func (c *ChargeFirst) Place(ctx context.Context, item Item) (Receipt, error) {
	charge, err := c.Payments.Charge(ctx, payments.Request{AmountCents: item.AmountCents, Reference: item.Product})
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", errPayment, err)
	}
	o := item.order()
	o.Charge = charge.ID
	id, err := c.Orders.Record(ctx, o)
	if err != nil {
		return Receipt{}, fmt.Errorf("%w, charge %s: %w", errOrder, charge.ID, err)
	}
	return Receipt{Order: id, Charge: charge.ID}, nil
}

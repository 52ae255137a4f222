package orders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// abandonedAfter is longer than a charge and its confirmation take. An order that is claimed too early costs a
	// customer the sale, never money.
	abandonedAfter = 5 * time.Second
	abandonMost    = 100 // in one round

	intend  = `INSERT INTO orders (product, quantity, amount_cents, key, state) VALUES ($1, $2, $3, $4, 'pending') RETURNING id`
	confirm = `UPDATE orders SET state = 'confirmed', charge = $2 WHERE id = $1 AND state = 'pending'`
	voided  = `UPDATE orders SET state = 'voided' WHERE id = $1`
	// No index on state: with one, a confirmation would need new index pages, and a full disk may not have them. The
	// disk's size bounds the table.
	claim = `UPDATE orders SET state = 'voiding' WHERE id IN (
		SELECT id FROM orders WHERE state = 'voiding' OR state = 'pending' AND created_at < now() - make_interval(secs => $1)
		ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id, key`
)

// ErrNotWritten is a write that the database itself says it did not do. After any other error nobody knows.
var ErrNotWritten = errors.New("not written")

// Abandoned is an order that will not be confirmed any more.
type Abandoned struct {
	ID  int64
	Key string
}

// Intend writes down what is to be sold under key, before money is taken for it.
func (s *Store) Intend(ctx context.Context, key string, o Order) (id int64, err error) {
	err = s.write(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, intend, o.Product, o.Quantity, o.AmountCents, key).Scan(&id)
	})
	return id, err
}

// Confirm makes a pending order an order that was paid with charge. It is not done, without an error, if the order was
// abandoned before.
func (s *Store) Confirm(ctx context.Context, id int64, charge string) (done bool, err error) {
	err = s.write(ctx, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, confirm, id, charge)
		done = tag.RowsAffected() == 1
		return err
	})
	return done, err
}

// Abandon claims the orders that are pending for too long, and returns them with those claimed before.
func (s *Store) Abandon(ctx context.Context) (all []Abandoned, err error) {
	err = s.try(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, claim, abandonedAfter.Seconds(), abandonMost)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Abandoned])
		return err
	})
	return all, err
}

// Voided says that nobody has paid for the order any more.
func (s *Store) Voided(ctx context.Context, id int64) error {
	return s.try(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, voided, id)
		return err
	})
}

// Trouble says why the last sale could not be written; "" if it could.
func (s *Store) Trouble() string {
	if text := s.sick.Load(); text != nil {
		return *text
	}
	return ""
}

// write is a try on whose outcome a sale depends.
func (s *Store) write(ctx context.Context, do func(context.Context) error) error {
	err := s.try(ctx, do)
	if ctx.Err() != nil {
		return err // the customer's, not the database's
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	s.sick.Store(&text)
	return err
}

// try does one thing with the database, within its time, measured.
func (s *Store) try(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	done := s.metrics.Start("postgres")
	err := s.prepare(ctx) // the first customer may come before Prepare's next try
	if err == nil {
		err = do(ctx)
	}
	done(err)
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.Severity == "ERROR":
		// The statement failed, and with it its transaction. FATAL and PANIC end a connection whenever they like.
		return fmt.Errorf("orders: %w: %w", ErrNotWritten, err)
	}
	return fmt.Errorf("orders: %w", err)
}

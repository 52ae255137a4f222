// Package orders keeps the shop's orders in PostgreSQL.
package orders

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"chaosrunner/shop/api/dependency"
)

const (
	maxConns       = 10
	connectTimeout = 2 * time.Second
	recordTimeout  = 5 * time.Second
	retryEvery     = time.Second

	// The lock is for replicas, and for a first sale while Prepare is at it: IF NOT EXISTS alone fails when two race.
	// A page has room left so that confirming an order, which changes no index, finds it beside the order.
	schema = `SELECT pg_advisory_xact_lock(4711);
	CREATE TABLE IF NOT EXISTS orders (
		id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		product      text        NOT NULL,
		quantity     integer     NOT NULL CHECK (quantity > 0),
		amount_cents bigint      NOT NULL CHECK (amount_cents > 0),
		charge       text,
		created_at   timestamptz NOT NULL DEFAULT now()
	) WITH (fillfactor = 60);
	ALTER TABLE orders ADD COLUMN IF NOT EXISTS key text UNIQUE;
	ALTER TABLE orders ADD COLUMN IF NOT EXISTS state text NOT NULL DEFAULT 'confirmed'
		CHECK (state IN ('pending', 'confirmed', 'voiding', 'voided'));
	ALTER TABLE orders ALTER COLUMN charge DROP NOT NULL;
	ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_charge_key`
	insert = `INSERT INTO orders (product, quantity, amount_cents, charge) VALUES ($1, $2, $3, $4) RETURNING id`
)

// Order is something sold and paid for.
type Order struct {
	Product     string
	Quantity    int
	AmountCents int64
	Charge      string
}

// Store is the orders table.
type Store struct {
	pool    *pgxpool.Pool
	metrics *dependency.Metrics
	ready   atomic.Bool
	sick    atomic.Pointer[string] // why the last sale could not be written
}

// Open does not connect yet; a dead database must not keep the API from starting.
func Open(ctx context.Context, dsn string, metrics *dependency.Metrics, reg prometheus.Registerer) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	cfg.MaxConns = maxConns
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	reg.MustRegister(poolCollector{pool})
	return &Store{pool: pool, metrics: metrics}, nil
}

// Close waits for the connections in use.
func (s *Store) Close() { s.pool.Close() }

// Prepare creates the table, trying until the database is there or ctx ends.
func (s *Store) Prepare(ctx context.Context, log *slog.Logger) {
	for {
		err := s.prepare(ctx)
		if err == nil {
			log.Info("orders table ready")
			return
		}
		log.Warn("orders table not ready", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryEvery):
		}
	}
}

func (s *Store) prepare(ctx context.Context) error {
	if s.ready.Load() {
		return nil
	}
	if _, err := s.pool.Exec(ctx, schema, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	s.ready.Store(true)
	return nil
}

// Record writes o, paid for already, and returns its number.
func (s *Store) Record(ctx context.Context, o Order) (id int64, err error) {
	err = s.write(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, insert, o.Product, o.Quantity, o.AmountCents, o.Charge).Scan(&id)
	})
	return id, err
}

// Command api is the shop's front door: it sells what the catalogue lists.
//
//	customer ──▶ api ──▶ catalog ┄┄▶ redis (CATALOG_FALLBACK=on)
//	              ├────▶ payments   within a budget (PAYMENTS_BUDGET=on)
//	              └────▶ postgres   before the charge and after it (ORDER_INTENT=on)
package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"chaosrunner/shop/api/catalog"
	"chaosrunner/shop/api/checkout"
	"chaosrunner/shop/api/dependency"
	"chaosrunner/shop/api/orders"
	"chaosrunner/shop/api/payments"
	"chaosrunner/shop/internal/service"
)

func main() {
	service.Main("api", run)
}

func run(ctx context.Context, log *slog.Logger) error {
	cfg, err := readConfig(os.Getenv)
	if err != nil {
		return err
	}
	log.Info("configured", "catalog_fallback", cfg.catalogFallback, "payments_budget", cfg.paymentsBudget, "order_intent", cfg.orderIntent)

	routes := service.NewRoutes()
	deps := dependency.New(routes.Registry, "catalog", "payments", "postgres", "redis")

	store, err := orders.Open(ctx, cfg.databaseURL, deps, routes.Registry)
	if err != nil {
		return err
	}
	defer store.Close()
	go store.Prepare(ctx, log)

	placer := newPlacer(ctx, cfg, store, deps, log, routes)
	pools := newPools(cfg, routes.Registry)

	if cfg.catalogFallback {
		redis.SetLogger(&logging.VoidLogger{}) // its errors come back to us, and are in our own log
		cache := catalog.NewCache(cfg.redisAddr, deps)
		defer cache.Close()
		fallback := newFallback(cfg, cache, deps, log, routes.Registry)
		go fallback.Run(ctx)
		checkout.Register(routes, fallback, placer, log, pools)
	} else {
		live := catalog.NewClient(cfg.catalogURL, &http.Client{Timeout: 10 * time.Second}, deps)
		checkout.Register(routes, live, placer, log, pools)
	}
	return service.Serve(ctx, log, service.Addr(), routes)
}

// newPools has everybody share the workers, as first built; with a budget for payments the checkouts are bounded by
// that, and hold up nobody but themselves.
func newPools(cfg config, reg prometheus.Registerer) checkout.Pools {
	workers := checkout.NewWorkers(checkout.Most, reg)
	if cfg.paymentsBudget {
		return checkout.Pools{Products: workers}
	}
	return checkout.Pools{Checkout: workers, Products: workers}
}

type payer interface {
	Charge(ctx context.Context, r payments.Request) (payments.Charge, error)
	Void(ctx context.Context, key string) error
}

type placer interface {
	Place(ctx context.Context, item checkout.Item) (checkout.Receipt, error)
}

// newPlacer starts what the switches ask for, and adds /readyz to the routes.
func newPlacer(ctx context.Context, cfg config, store *orders.Store, deps *dependency.Metrics, log *slog.Logger, routes *service.Routes) placer {
	// Without a budget a charge takes as long as it takes.
	payer := payer(payments.NewClient(cfg.paymentsURL, &http.Client{}, deps))
	if cfg.paymentsBudget {
		budget := payments.NewBudget(cfg.paymentsURL, deps, routes.Registry)
		go budget.Warm(ctx)
		payer = budget
	}
	checks := []service.Check{{Name: "orders", Trouble: store.Trouble}}
	place := placer(&checkout.ChargeFirst{Payments: payer, Orders: store})
	if cfg.orderIntent {
		settler := checkout.NewSettler(payer, store, log, routes.Registry)
		go settler.Run(ctx)
		checks = append(checks, service.Check{Name: "money", Trouble: settler.Trouble})
		place = &checkout.IntentFirst{Payments: payer, Orders: store, Log: log}
	}
	routes.Ready(checks...)
	return place
}

// newFallback gives the catalogue connections of its own. A dial goes on after the request that wanted it has given
// up, and one to a dead container's address hangs for seconds: its limit is the deadline too.
func newFallback(cfg config, cache *catalog.Cache, deps *dependency.Metrics, log *slog.Logger, reg prometheus.Registerer) *catalog.Fallback {
	dialer := &net.Dialer{Timeout: catalog.Deadline, KeepAlive: 5 * time.Second}
	live := catalog.NewClient(cfg.catalogURL, &http.Client{Transport: &http.Transport{
		DialContext:         dialer.DialContext,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     time.Minute,
	}}, deps)
	return catalog.NewFallback(live, cache, log, reg)
}

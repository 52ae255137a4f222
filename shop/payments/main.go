// Command payments plays the payment provider. It keeps its own ledger of the charges it took, as a provider does,
// so that what the shop recorded can be compared with what customers paid.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"chaosrunner/shop/internal/service"
)

const defaultLedger = "/ledger/charges.jsonl"

func main() {
	service.Main("payments", run)
}

func run(ctx context.Context, log *slog.Logger) (err error) {
	path := os.Getenv("LEDGER")
	if path == "" {
		path = defaultLedger
	}
	ledger, err := OpenLedger(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	count, amount := ledger.Total()
	log.Info("ledger open", "path", path, "charges", count, "amount_cents", amount)
	return service.Serve(ctx, log, service.Addr(), routes(ledger, log))
}

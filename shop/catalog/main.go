// Command catalog is the shop's product catalogue: it knows what is sold, and for how much.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"chaosrunner/shop/internal/service"
)

// work is the natural cost of a look-up.
const work = time.Millisecond

func main() {
	service.Main("catalog", func(ctx context.Context, log *slog.Logger) error {
		return service.Serve(ctx, log, service.Addr(), routes())
	})
}

func routes() http.Handler {
	r := service.NewRoutes()
	r.Handle("GET /products", list, http.StatusOK)
	r.Handle("GET /products/{id}", one, http.StatusOK, http.StatusNotFound)
	return r
}

func list(w http.ResponseWriter, _ *http.Request) {
	service.Work(work)
	service.WriteJSON(w, http.StatusOK, map[string]any{"products": products})
}

func one(w http.ResponseWriter, r *http.Request) {
	service.Work(work)
	for _, p := range products {
		if p.ID == r.PathValue("id") {
			service.WriteJSON(w, http.StatusOK, p)
			return
		}
	}
	service.WriteError(w, http.StatusNotFound, "unknown product")
}

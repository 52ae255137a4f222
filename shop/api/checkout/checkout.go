// Package checkout is the API's business: look the product up, take the money, record the order.
//
//	POST /checkout ──▶ catalogue.Product ──▶ placer.Place ──▶ {"order": 1, …}
//	                   Client or Fallback    ChargeFirst or IntentFirst, and Settler behind it
package checkout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"chaosrunner/shop/api/catalog"
	"chaosrunner/shop/internal/service"
)

const maxQuantity = 100

type catalogue interface {
	Product(ctx context.Context, id string) (p catalog.Product, degraded bool, err error)
	Products(ctx context.Context) (all []catalog.Product, degraded bool, err error)
}

type placer interface {
	Place(ctx context.Context, item Item) (Receipt, error)
}

// Handler answers the shop's customers.
type Handler struct {
	catalogue catalogue
	placer    placer
	log       *slog.Logger
	outcomes  *prometheus.CounterVec
}

// Register adds the API's routes to r.
func Register(r *service.Routes, c catalogue, p placer, log *slog.Logger, pools Pools) {
	h := &Handler{catalogue: c, placer: p, log: log, outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "checkouts_total",
		Help: "Checkouts by how they ended; order_failed means that no order was written, though without ORDER_INTENT money was taken.",
	}, []string{"outcome"})}
	for _, f := range failures {
		h.outcomes.WithLabelValues(f.outcome)
	}
	h.outcomes.WithLabelValues("ok")
	r.Registry.MustRegister(h.outcomes)

	r.Handle("POST /checkout", pools.Checkout.do(h.checkout), http.StatusOK, http.StatusBadRequest, http.StatusNotFound,
		http.StatusBadGateway, http.StatusServiceUnavailable)
	r.Handle("GET /products", pools.Products.do(h.products), http.StatusOK, http.StatusBadGateway, http.StatusServiceUnavailable)
}

type request struct {
	Product  string `json:"product"`
	Quantity int    `json:"quantity"`
}

type answer struct {
	Order       int64  `json:"order"`
	Product     string `json:"product"`
	Quantity    int    `json:"quantity"`
	AmountCents int64  `json:"amount_cents"`
	Charge      string `json:"charge"`
	Degraded    bool   `json:"degraded"`
}

func (h *Handler) checkout(w http.ResponseWriter, r *http.Request) {
	answer, err := h.sell(w, r)
	if err != nil {
		f := failureOf(err)
		h.outcomes.WithLabelValues(f.outcome).Inc()
		h.fail(w, r, f, err)
		return
	}
	h.outcomes.WithLabelValues("ok").Inc()
	service.WriteJSON(w, http.StatusOK, answer)
}

func (h *Handler) sell(w http.ResponseWriter, r *http.Request) (answer, error) {
	var req request
	if err := service.ReadJSON(w, r, &req); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errInput, err)
	}
	if req.Product == "" || req.Quantity < 1 || req.Quantity > maxQuantity {
		return answer{}, fmt.Errorf("%w: want a product and a quantity from 1 to %d", errInput, maxQuantity)
	}
	product, degraded, err := h.catalogue.Product(r.Context(), req.Product)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errCatalog, err)
	}
	amount := product.PriceCents * int64(req.Quantity)
	receipt, err := h.placer.Place(r.Context(), Item{Product: product.ID, Quantity: req.Quantity, AmountCents: amount})
	if err != nil {
		return answer{}, err
	}
	return answer{
		Order:       receipt.Order,
		Product:     product.ID,
		Quantity:    req.Quantity,
		AmountCents: amount,
		Charge:      receipt.Charge,
		Degraded:    degraded,
	}, nil
}

func (h *Handler) products(w http.ResponseWriter, r *http.Request) {
	all, degraded, err := h.catalogue.Products(r.Context())
	if err != nil {
		err = fmt.Errorf("%w: %w", errCatalog, err)
		h.fail(w, r, failureOf(err), err)
		return
	}
	service.WriteJSON(w, http.StatusOK, map[string]any{"products": all, "degraded": degraded})
}

// fail tells the customer what went wrong, and the operator why.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, f failure, err error) {
	message := f.message
	if f.code < http.StatusInternalServerError {
		if errors.Is(err, errInput) {
			message = err.Error()
		}
	} else {
		h.log.ErrorContext(r.Context(), f.message, "path", r.URL.Path, "outcome", f.outcome, "error", err)
	}
	service.WriteError(w, f.code, message)
}

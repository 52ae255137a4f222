package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"chaosrunner/shop/internal/service"
)

const (
	// work is the natural cost of a charge.
	work         = 5 * time.Millisecond
	maxAmount    = 100_000_00
	maxKey       = 255
	defaultLimit = 100
)

type chargeRequest struct {
	AmountCents int64  `json:"amount_cents"`
	Reference   string `json:"reference"`
}

type handler struct {
	ledger *Ledger
	log    *slog.Logger
}

func routes(ledger *Ledger, log *slog.Logger) http.Handler {
	h := &handler{ledger: ledger, log: log}
	r := service.NewRoutes()
	r.Handle("POST /charges", h.charge, http.StatusCreated, http.StatusInternalServerError)
	r.Handle("GET /charges", h.list, http.StatusOK)
	r.Handle("POST /voids", h.void, http.StatusCreated, http.StatusInternalServerError)
	return r
}

// charge takes money. It does not look at the request's context on purpose: once a provider has begun, a caller who
// hangs up has still paid. Only an Idempotency-Key makes asking again safe.
func (h *handler) charge(w http.ResponseWriter, r *http.Request) {
	var req chargeRequest
	if err := service.ReadJSON(w, r, &req); err != nil {
		service.WriteError(w, http.StatusBadRequest, err.Error())
		return
	}
	key := r.Header.Get("Idempotency-Key")
	switch {
	case req.AmountCents <= 0 || req.AmountCents > maxAmount:
		service.WriteError(w, http.StatusBadRequest, "amount_cents: want 1 to "+strconv.Itoa(maxAmount))
		return
	case len(key) > maxKey:
		service.WriteError(w, http.StatusBadRequest, "Idempotency-Key: want at most "+strconv.Itoa(maxKey)+" bytes")
		return
	}
	service.Work(work)
	charge, replayed, err := h.ledger.Charge(req.AmountCents, req.Reference, key)
	switch {
	case errors.Is(err, ErrKeyReused), errors.Is(err, ErrVoided):
		service.WriteError(w, http.StatusUnprocessableEntity, err.Error())
	case err != nil:
		h.log.Error("charge not taken", "error", err)
		service.WriteError(w, http.StatusInternalServerError, "charge not taken")
	case replayed:
		service.WriteJSON(w, http.StatusOK, charge)
	default:
		service.WriteJSON(w, http.StatusCreated, charge)
	}
}

// void gives money back, by the key that it was or would have been charged under. Whoever does not know whether a
// charge went through voids its key, and then does.
func (h *handler) void(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Key string `json:"key"`
	}
	if err := service.ReadJSON(w, r, &req); err != nil {
		service.WriteError(w, http.StatusBadRequest, err.Error())
		return
	}
	if req.Key == "" || len(req.Key) > maxKey {
		service.WriteError(w, http.StatusBadRequest, "key: want 1 to "+strconv.Itoa(maxKey)+" bytes")
		return
	}
	service.Work(work)
	v, replayed, err := h.ledger.Void(req.Key)
	switch {
	case err != nil:
		h.log.Error("not voided", "error", err)
		service.WriteError(w, http.StatusInternalServerError, "not voided")
	case replayed:
		service.WriteJSON(w, http.StatusOK, v)
	default:
		service.WriteJSON(w, http.StatusCreated, v)
	}
}

// list answers with the totals of all charges but the first ?after=, and the newest of them, as many as ?limit= says. With ?ids
// it names all that were kept.
func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	limit, err := number(r, "limit", defaultLimit)
	if err != nil {
		service.WriteError(w, http.StatusBadRequest, err.Error())
		return
	}
	after, err := number(r, "after", 0)
	if err != nil {
		service.WriteError(w, http.StatusBadRequest, err.Error())
		return
	}
	s := h.ledger.Statement(limit, after)
	if r.URL.Query().Has("ids") {
		s.KeptIDs = h.ledger.KeptIDs(after)
	}
	service.WriteJSON(w, http.StatusOK, s)
}

func number(r *http.Request, name string, fallback int) (int, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: got %q, want a number from 0", name, s)
	}
	return n, nil
}

// Package payments is the API's view of the payment provider.
//
//	Client                          first version: a charge takes as long as it takes
//	Budget ── slots ──▶ Client      PAYMENTS_BUDGET=on: a deadline, bounded concurrency, a budget for retries
package payments

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"chaosrunner/shop/api/dependency"
	"chaosrunner/shop/internal/service"
)

// ErrNotTaken is the one error after which it is known that no money was taken. After any other nobody knows.
var ErrNotTaken = errors.New("nothing was charged")

// Request is a charge to be made. Under one Key, money is taken once however often it is asked for.
type Request struct {
	AmountCents int64
	Reference   string
	Key         string
}

// Charge is money taken by the provider.
type Charge struct {
	ID          string `json:"id"`
	AmountCents int64  `json:"amount_cents"`
}

// Client asks the provider.
type Client struct {
	url     string
	http    *http.Client
	metrics *dependency.Metrics
}

// NewClient returns a client for the provider at url, with h's timeouts.
func NewClient(url string, h *http.Client, metrics *dependency.Metrics) *Client {
	return &Client{url: url, http: h, metrics: metrics}
}

// Charge takes r.AmountCents.
func (c *Client) Charge(ctx context.Context, r Request) (charge Charge, err error) {
	err = c.post(ctx, "/charges", r.Key, map[string]any{"amount_cents": r.AmountCents, "reference": r.Reference}, &charge)
	return charge, err
}

// Void gives back what was charged under key, and sees to it that nothing is charged under it later.
func (c *Client) Void(ctx context.Context, key string) error {
	var answer struct{}
	return c.post(ctx, "/voids", "", map[string]string{"key": key}, &answer)
}

func (c *Client) post(ctx context.Context, path, key string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("payments: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("payments: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	done := c.metrics.Start("payments")
	err = c.ask(req, answer)
	done(err)
	if err != nil {
		return fmt.Errorf("payments: %w", err)
	}
	return nil
}

func (c *Client) ask(req *http.Request, answer any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusOK:
		return service.DecodeResponse(resp, answer)
	case resp.StatusCode >= 400 && resp.StatusCode < 500:
		return fmt.Errorf("got %s, want 201: %w", resp.Status, ErrNotTaken)
	}
	return fmt.Errorf("got %s, want 201", resp.Status)
}

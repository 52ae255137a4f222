// Package payments is the API's view of the payment provider.
package payments

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"chaosrunner/shop/api/dependency"
	"chaosrunner/shop/internal/service"
)

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

// Charge takes amount cents. After an error nobody knows whether the money was taken.
func (c *Client) Charge(ctx context.Context, amount int64, reference string) (Charge, error) {
	body, err := json.Marshal(map[string]any{"amount_cents": amount, "reference": reference})
	if err != nil {
		return Charge{}, fmt.Errorf("payments: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/charges", bytes.NewReader(body))
	if err != nil {
		return Charge{}, fmt.Errorf("payments: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	done := c.metrics.Start("payments")
	charge, err := c.ask(req)
	done(err)
	if err != nil {
		return Charge{}, fmt.Errorf("payments: %w", err)
	}
	return charge, nil
}

func (c *Client) ask(req *http.Request) (charge Charge, err error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return Charge{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		return Charge{}, fmt.Errorf("got %s, want 201", resp.Status)
	}
	err = service.DecodeResponse(resp, &charge)
	return charge, err
}

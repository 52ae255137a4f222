// Package catalog is the API's view of the product catalogue.
//
//	Client                                first version: no catalog, no checkout
//	Fallback ── breaker ──▶ Client        CATALOG_FALLBACK=on
//	    └── catalog fails ──▶ Cache (Redis)
package catalog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"chaosrunner/shop/api/dependency"
	"chaosrunner/shop/internal/service"
)

// ErrUnknown is an answer, not a failure: the catalogue has no such product.
var ErrUnknown = errors.New("unknown product")

// Product is one thing for sale.
type Product struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	PriceCents int64  `json:"price_cents"`
}

// Client asks the catalog service.
type Client struct {
	url     string
	http    *http.Client
	metrics *dependency.Metrics
}

// NewClient returns a client for the service at url, with h's timeouts.
func NewClient(url string, h *http.Client, metrics *dependency.Metrics) *Client {
	return &Client{url: url, http: h, metrics: metrics}
}

// Product looks one product up. A client knows only the live catalogue, so degraded is always false.
func (c *Client) Product(ctx context.Context, id string) (p Product, degraded bool, err error) {
	err = c.get(ctx, "/products/"+url.PathEscape(id), &p)
	return p, false, err
}

// Products lists what is for sale.
func (c *Client) Products(ctx context.Context) (all []Product, degraded bool, err error) {
	var answer struct {
		Products []Product `json:"products"`
	}
	err = c.get(ctx, "/products", &answer)
	return answer.Products, false, err
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	done := c.metrics.Start("catalog")
	found, err := c.ask(req, v)
	done(err)
	switch {
	case err != nil:
		return fmt.Errorf("catalog: %w", err)
	case !found:
		return fmt.Errorf("catalog: %w", ErrUnknown)
	}
	return nil
}

func (c *Client) ask(req *http.Request, v any) (found bool, err error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return true, service.DecodeResponse(resp, v)
	case http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("got %s, want 200 or 404", resp.Status)
}

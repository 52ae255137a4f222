package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"chaosrunner/shop/api/dependency"
)

const (
	listKey     = "catalog:products"
	productKey  = "catalog:product:"
	cacheBudget = 100 * time.Millisecond
	// A price may be this old before the shop would rather not sell.
	cacheTTL = time.Hour
)

var errNotCached = errors.New("redis: product not cached")

// Cache keeps the catalogue in Redis, where it outlives this process and is shared with its replicas.
type Cache struct {
	rdb     *redis.Client
	metrics *dependency.Metrics
}

// NewCache does not connect yet; a dead Redis must not keep the API from starting.
func NewCache(addr string, metrics *dependency.Metrics) *Cache {
	return &Cache{metrics: metrics, rdb: redis.NewClient(&redis.Options{
		Addr:                  addr,
		DialTimeout:           cacheBudget,
		DialerRetries:         1,
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled, // a Redis 7.0 on its own does not know it
		},
	})}
}

// Close gives the connections back.
func (c *Cache) Close() error { return c.rdb.Close() }

// Product returns a cached product. One that is not in the cached list is known to be unknown.
func (c *Cache) Product(ctx context.Context, id string) (Product, error) {
	var p Product
	err := c.read(ctx, productKey+id, &p)
	if !errors.Is(err, errNotCached) {
		return p, err
	}
	all, err := c.Products(ctx)
	if err != nil {
		return Product{}, err
	}
	if i := slices.IndexFunc(all, func(p Product) bool { return p.ID == id }); i >= 0 {
		return all[i], nil
	}
	return Product{}, fmt.Errorf("redis: %w", ErrUnknown)
}

// Products returns the cached list.
func (c *Cache) Products(ctx context.Context) ([]Product, error) {
	var all []Product
	err := c.read(ctx, listKey, &all)
	return all, err
}

// Save keeps one product.
func (c *Cache) Save(ctx context.Context, p Product) error {
	return c.write(ctx, map[string]any{productKey + p.ID: p})
}

// SaveAll keeps the list and each product in it.
func (c *Cache) SaveAll(ctx context.Context, all []Product) error {
	entries := map[string]any{listKey: all}
	for _, p := range all {
		entries[productKey+p.ID] = p
	}
	return c.write(ctx, entries)
}

func (c *Cache) read(ctx context.Context, key string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, cacheBudget)
	defer cancel()
	done := c.metrics.Start("redis")
	data, err := c.rdb.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		done(nil)
		return errNotCached
	}
	done(err)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("redis: %s: %w", key, err)
	}
	return nil
}

func (c *Cache) write(ctx context.Context, entries map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, cacheBudget)
	defer cancel()
	pipe := c.rdb.Pipeline()
	for key, v := range entries {
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("redis: %s: %w", key, err)
		}
		pipe.Set(ctx, key, data, cacheTTL)
	}
	done := c.metrics.Start("redis")
	_, err := pipe.Exec(ctx)
	done(err)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

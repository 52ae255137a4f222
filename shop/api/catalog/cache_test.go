package catalog

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"chaosrunner/shop/api/dependency"
)

// startRedis runs a real Redis on a socket in the test's own folder.
func startRedis(t *testing.T) (addr string) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server on this machine (apt-get install redis-server); shop_test.go covers the cache as well")
	}
	addr = filepath.Join(t.TempDir(), "redis.sock")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", addr, "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	for ctx := within(t); rdb.Ping(ctx).Err() != nil; time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("redis did not start")
		}
	}
	return addr
}

func newTestCache(t *testing.T, addr string) *Cache {
	c := NewCache(addr, dependency.New(prometheus.NewRegistry()))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCache(t *testing.T) {
	c := newTestCache(t, startRedis(t))
	ctx := within(t)
	mug := Product{ID: "mug", Name: "Mug", PriceCents: 1200}

	if _, err := c.Product(ctx, "tea"); !errors.Is(err, errNotCached) {
		t.Errorf("empty: got %v, want errNotCached", err)
	}
	if err := c.SaveAll(ctx, []Product{tea}); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(ctx, mug); err != nil {
		t.Fatal(err)
	}
	for _, want := range []Product{tea, mug} {
		if got, err := c.Product(ctx, want.ID); err != nil || got != want {
			t.Errorf("%s: got %v, %v", want.ID, got, err)
		}
	}
	if _, err := c.Product(ctx, "nope"); !errors.Is(err, ErrUnknown) {
		t.Errorf("not in the list: got %v, want ErrUnknown", err)
	}
	if all, err := c.Products(ctx); err != nil || len(all) != 1 || all[0] != tea {
		t.Errorf("list: got %v, %v", all, err)
	}
	// Redis may drop the product and keep the list.
	if err := c.rdb.Del(ctx, productKey+"tea").Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Product(ctx, "tea"); err != nil || got != tea {
		t.Errorf("evicted: got %v, %v", got, err)
	}
}

func TestCacheFailsWhenRedisIsDead(t *testing.T) {
	c := newTestCache(t, filepath.Join(t.TempDir(), "nothing.sock"))
	_, err := c.Product(context.Background(), "tea")
	if err == nil || errors.Is(err, errNotCached) || errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want a failure", err)
	}
}

package payments

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

const (
	warmEvery = 20 * time.Second
	warmLimit = 2 * time.Second
	// A provider slower than this has charges waiting on its connections, which keeps them open; warming would take
	// them away from customers.
	warmSlow = 50 * time.Millisecond
)

// Warm keeps a connection open for each slot until ctx ends: when the provider becomes slow, so do handshakes.
func (b *Budget) Warm(ctx context.Context) {
	for {
		b.warm(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(warmEvery):
		}
	}
}

// warm asks for the provider's health once over each connection. One ask goes ahead, to see whether it is quick; the
// others hold their connections until all have one, else a few would serve them all.
func (b *Budget) warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	start := time.Now()
	if b.health(ctx, nil) != nil || time.Since(start) > warmSlow {
		return
	}
	spare := Slots - len(b.slots)
	var all, connected sync.WaitGroup
	connected.Add(spare)
	for range spare {
		all.Go(func() {
			once := sync.OnceFunc(connected.Done)
			defer once() // the others must not wait for one that failed
			_ = b.health(ctx, func() { once(); connected.Wait() })
		})
	}
	all.Wait()
}

func (b *Budget) health(ctx context.Context, connected func()) error {
	if connected != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected() }})
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.client.url+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := b.client.http.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return closeWith(err, resp.Body)
}

func closeWith(err error, c io.Closer) error {
	if closing := c.Close(); err == nil {
		err = closing
	}
	return err
}

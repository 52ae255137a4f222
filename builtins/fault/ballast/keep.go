package ballast

import (
	"context"
	"time"

	"chaosrunner/builtins/fault/mounts"
)

// keep takes what becomes free, until it is stopped.
func (b *Ballast) keep() {
	defer close(b.kept)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-b.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	clock := time.NewTimer(look)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
		pause, err := b.refill(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			b.lost <- err
			return
		}
		clock.Reset(pause)
	}
}

// refill takes what is free beyond what was to be left.
func (b *Ballast) refill(ctx context.Context) (time.Duration, error) {
	need, err := b.need()
	if err != nil || need <= 0 {
		return look, err
	}
	before, l := b.Bytes(), b.lumps[0]
	grow := l.grow
	if b.written {
		grow = func(ctx context.Context, n int64) (bool, error) { return b.writeOn(ctx, l, n, nil) }
	}
	if _, err := grow(ctx, need); err != nil {
		return look, err
	}
	b.settle()
	grown := b.Bytes() - before
	if grown <= 0 {
		return barren, nil
	}
	b.mu.Lock()
	b.refills++
	b.refilled += grown
	b.mu.Unlock()
	return look, nil
}

// Usage is what the ballast's file system says.
func (b *Ballast) Usage() (mounts.Usage, error) { return mounts.UsageOf(b.spec.Dir) }

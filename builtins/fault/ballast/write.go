package ballast

import (
	"context"
	crypto "crypto/rand"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

const (
	chunk  = 1 << 20         // of one write
	synced = 16 << 20        // that may wait for the disk
	news   = 2 * time.Second // between two words on how far it is
)

// write fills a file by writing, for file systems that cannot allocate.
func (b *Ballast) write(ctx context.Context, l *lump, need int64) error {
	began, told := time.Now(), time.Now()
	b.spec.Tell(fmt.Sprintf("this file system cannot allocate: %d MiB are written at %d MiB/s, which takes about %v",
		need>>20, b.spec.Rate>>20, time.Duration(float64(need)/float64(b.spec.Rate)*1e9).Round(time.Second)))
	progress := func(done int64) {
		if time.Since(told) >= news {
			told = time.Now()
			b.spec.Tell(fmt.Sprintf("%d of %d MiB are written (%d %%) in %v", done>>20, need>>20, 100*done/max(need, 1),
				time.Since(began).Round(time.Second)))
		}
	}
	return b.rest(ctx, func(ctx context.Context, n int64) (bool, error) { return b.writeOn(ctx, l, n, progress) })
}

// writeOn writes n more bytes, no faster than the rate. They are random, since
// a file system that packs zeros would take none.
func (b *Ballast) writeOn(ctx context.Context, l *lump, n int64, progress func(int64)) (stop bool, err error) {
	var seed [32]byte
	_, _ = crypto.Read(seed[:]) // never fails
	noise, buf := rand.NewChaCha8(seed), make([]byte, min(chunk, n))
	began, behind := time.Now(), int64(0)
	for done := int64(0); done < n && !stop; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		part := buf[:min(int64(len(buf)), n-done)]
		_, _ = noise.Read(part) // never fails
		k, err := l.append(part)
		done, behind = done+int64(k), behind+int64(k)
		if stop = full(err); err != nil && !stop {
			return false, fmt.Errorf("ballast: write: %w", err)
		}
		if behind >= synced || done >= n || stop {
			behind = 0
			if err := l.sync(); full(err) {
				stop = true
			} else if err != nil {
				return false, fmt.Errorf("ballast: sync: %w", err)
			}
		}
		if progress != nil {
			progress(done)
		}
		ahead := time.Duration(float64(done)/float64(b.spec.Rate)*1e9) - time.Since(began)
		if ahead > 0 && done < n {
			select {
			case <-time.After(ahead):
			case <-ctx.Done():
			}
		}
	}
	return stop, nil
}

func (l *lump) append(part []byte) (n int, err error) {
	l.do(func() {
		for n < len(part) && err == nil {
			var k int
			k, err = unix.Pwrite(l.fd, part[n:], l.end)
			if err == unix.EINTR {
				k, err = max(k, 0), nil
			}
			if k > 0 {
				n, l.end = n+k, l.end+int64(k)
			}
		}
	})
	return n, err
}

// sync brings what was written to the disk, and out of memory.
func (l *lump) sync() (err error) {
	l.do(func() {
		if err = unix.Fdatasync(l.fd); err == nil {
			_ = unix.Fadvise(l.fd, 0, 0, unix.FADV_DONTNEED) // advice
		}
	})
	return err
}

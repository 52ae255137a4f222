package nfqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
)

// A fault is one emulation that acts.
type fault struct {
	layer  *nft.Layer
	loop   *loop
	filter netem.Filter
	gone   func()

	mu     sync.Mutex // of its ends: updates and undos, one at a time
	undone bool
	last   netem.Stats
}

func start(tables *nft.Tables, ns int, job netem.Job) (f *fault, err error) {
	f = &fault{filter: job.Filter}
	if f.layer, err = tables.Layer(ns); err != nil {
		return nil, err
	}
	err = netns.Inside(ns, func() (err error) {
		f.loop, err = newLoop(f.layer.Passed())
		return err
	})
	if err != nil {
		return nil, errors.Join(err, f.layer.Close())
	}
	if err = f.shape(job.Filter, job.Emulation); err != nil {
		f.loop.close()
		return nil, errors.Join(err, f.layer.Close())
	}
	go f.loop.run()
	if err = f.layer.Set(f.rule(job.Filter)); err != nil {
		return nil, errors.Join(err, f.end())
	}
	return f, nil
}

func (f *fault) rule(filter netem.Filter) nft.Rule {
	return nft.Rule{Filter: filter, Out: nft.ToQueue(f.loop.shapers[0].q.number), In: nft.ToQueue(f.loop.shapers[1].q.number)}
}

func (f *fault) shape(filter netem.Filter, e netem.Emulation) error {
	for stream, s := range f.loop.shapers {
		if err := s.set(filter, e, uint64(stream)); err != nil {
			return err
		}
	}
	return nil
}

// Update changes what happens, and to which packets. At no time is there
// neither the old nor the new.
func (f *fault) Update(_ context.Context, filter netem.Filter, e netem.Emulation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.undone {
		return errEnded
	}
	if err := f.loop.do(func() error { return f.shape(filter, e) }); err != nil {
		return fmt.Errorf("nfqueue: update: %w", err)
	}
	if f.filter.Equal(filter) {
		return nil
	}
	if err := f.layer.Set(f.rule(filter)); err != nil {
		return fmt.Errorf("nfqueue: update: %w", err)
	}
	f.filter = filter
	return nil
}

// Stats adds both directions up.
func (f *fault) Stats() (netem.Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.undone {
		return f.last, nil
	}
	return f.stats()
}

func (f *fault) stats() (sum netem.Stats, err error) {
	ended := f.loop.do(f.loop.publish) != nil // then what it published last stands
	f.loop.mu.Lock()
	seen := f.loop.seen
	f.loop.mu.Unlock()
	var slept time.Duration
	for i, s := range seen {
		sum.Packets += s.Packets
		sum.Bytes += s.Bytes
		sum.Dropped += s.Dropped
		sum.Overflowed += s.Overflowed
		sum.Duplicated += s.Duplicated
		sum.Corrupted += s.Corrupted
		sum.Reordered += s.Reordered
		sum.Held += s.Held
		sum.Delayed += s.Delayed
		sum.MaxDelay = max(sum.MaxDelay, s.MaxDelay)
		slept += s.MeanDelay * time.Duration(s.Delayed)
		if ended {
			continue
		}
		_, dropped, err := f.loop.lines.of(f.loop.shapers[i].q)
		if err != nil {
			return sum, fmt.Errorf("nfqueue: %w", err)
		}
		sum.Packets += dropped
		sum.Overflowed += dropped
	}
	if sum.Delayed > 0 {
		sum.MeanDelay = slept / time.Duration(sum.Delayed)
	}
	return sum, nil
}

// Lost yields why it has stopped acting by itself.
func (f *fault) Lost() <-chan error { return f.loop.lost }

// Undo lets packets pass, lets go of those that are held, in their order, and
// then takes everything away: no packet is lost.
func (f *fault) Undo(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.undone {
		return nil
	}
	var errs []error
	select {
	case <-f.loop.ended: // it was lost: the kernel has let go of all
	default:
		if err := f.layer.Set(); err != nil {
			errs = append(errs, err)
		}
		if err := f.drain(ctx); err != nil {
			errs = append(errs, err)
		}
		f.last, _ = f.stats() // the counts so far are better than none
	}
	if err := f.end(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return fmt.Errorf("nfqueue: undo: %w", errors.Join(errs...))
	}
	return nil
}

// drain ends when the kernel says that nothing waits. A packet that met the
// rule just before it went may take a moment to reach the queue.
func (f *fault) drain(ctx context.Context) error {
	const moment = 2 * time.Millisecond
	for empty := 0; empty < 2; {
		left := uint64(0)
		if err := f.loop.do(func() error { return f.loop.letAllGo() }); err != nil {
			return err
		}
		for _, s := range f.loop.shapers {
			n, _, err := f.loop.lines.of(s.q)
			if err != nil {
				return err
			}
			left += n
		}
		if empty++; left > 0 {
			empty = 0
		}
		select {
		case <-ctx.Done():
			if left == 0 {
				return nil
			}
			return fmt.Errorf("%d packets are still held: %w", left, ctx.Err())
		case <-time.After(moment):
		}
	}
	return nil
}

// end takes everything away, once.
func (f *fault) end() error {
	f.undone = true
	f.loop.stop.Store(true)
	f.loop.rouse()
	<-f.loop.ended
	close(f.loop.lost)
	if f.gone != nil {
		f.gone()
	}
	return f.layer.Close()
}

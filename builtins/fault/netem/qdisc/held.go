package qdisc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"chaosrunner/builtins/fault/netem"
)

// held is one job that is in.
type held struct {
	space *space
	conn  *conn
	job   netem.Job
	record

	lost  chan error
	ended chan struct{}
	watch sync.WaitGroup
	once  sync.Once
	out   bool // and done with
}

// Lost implements [netem.Held].
func (h *held) Lost() <-chan error { return h.lost }

const glance = 500 * time.Millisecond

// look tells when what is in is not in any more, or was changed by somebody.
func (h *held) look() {
	defer h.watch.Done()
	defer close(h.lost)
	for {
		select {
		case <-h.ended:
			return
		case <-time.After(glance):
		}
		if err := h.check(); err != nil {
			h.lost <- err
			<-h.ended
			return
		}
	}
}

func (h *held) check() error {
	s := h.space
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bands[h.Band]
	if b == nil {
		return nil // Undo is under way
	}
	want, err := merge(b.emulations())
	if err != nil {
		return err
	}
	found, err := h.conn.qdiscs()
	if err != nil {
		return err
	}
	there := 0
	for _, q := range found {
		if q.handle != netemOf(h.Base, h.Band) {
			continue
		}
		there++
		if err := differs(want, q.options); err != nil {
			return err
		}
	}
	if there == 0 {
		return errors.New("the qdisc is gone: the interface has, or somebody has removed it")
	}
	return nil
}

// Update implements [netem.Held].
func (h *held) Update(_ context.Context, f netem.Filter, e netem.Emulation) error {
	s := h.space
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bands[h.Band]
	switch {
	case b == nil:
		return os.ErrClosed
	case f.Direction != h.job.Filter.Direction:
		return fmt.Errorf("direction: got %q, and it cannot change from %q while it is in", f.Direction, h.job.Filter.Direction)
	}
	old := h.job
	h.job.Filter, h.job.Emulation = f, e
	to := &band{filter: f, held: b.held}
	if err := s.change(h.conn, h.Band, to); err != nil {
		h.job = old
		return errors.Join(err, s.change(h.conn, h.Band, b))
	}
	s.bands[h.Band] = to
	return nil
}

// Stats implements [netem.Held]. The kernel counts drops as one: they are loss
// where one was asked for, else want of room.
func (h *held) Stats() (netem.Stats, error) {
	s := h.space
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := h.conn.qdiscs()
	if err != nil {
		return netem.Stats{}, err
	}
	var stats netem.Stats
	var drops uint64
	for _, q := range found {
		if q.handle != netemOf(h.Base, h.Band) {
			continue
		}
		stats.Packets += q.packets + uint64(q.drops) + uint64(q.queued)
		stats.Bytes += q.bytes
		stats.Held += int(q.queued)
		drops += uint64(q.drops)
	}
	if h.job.Emulation.Loss > 0 || h.job.Emulation.LossModel != nil {
		stats.Dropped = drops
	} else {
		stats.Overflowed = drops
	}
	return stats, nil
}

// Undo implements [netem.Held]: packets go past it at once, those that it holds
// are let go when their time has come, and then it is taken away.
func (h *held) Undo(ctx context.Context) error {
	h.once.Do(func() { close(h.ended) })
	h.watch.Wait()
	s := h.space
	s.mu.Lock()
	var err error
	drains := s.alone(h.record)
	if drains {
		err = h.pass()
	}
	s.mu.Unlock()
	if drains && err == nil {
		h.drain(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.out {
		return nil
	}
	if err := s.leave(h.conn, h.record); err != nil {
		return err
	}
	h.out = true
	h.conn.close()
	return nil
}

// pass takes the band's filters away.
func (h *held) pass() error {
	found, err := h.conn.qdiscs()
	if err != nil {
		return err
	}
	for _, q := range found {
		if q.is(h.Base) {
			err = errors.Join(err, h.conn.unfilter(q.index, h.Base, h.Band))
		}
	}
	return err
}

// mostDrain is how long the last packets are waited for. A narrow rate may hold
// them for hours.
const mostDrain = 3 * time.Second

func (h *held) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, mostDrain)
	defer cancel()
	for ctx.Err() == nil {
		s, err := h.Stats()
		if err != nil || s.Held == 0 {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

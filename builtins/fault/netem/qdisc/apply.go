package qdisc

import (
	"context"
	"encoding/json"
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

// Apply implements [netem.Engine]. The filters come last: until then no packet
// meets anything.
func (e *Engine) Apply(_ context.Context, ns int, job netem.Job, raw json.RawMessage) (netem.Held, error) {
	h := &held{job: job, lost: make(chan error, 1), ended: make(chan struct{})}
	if err := json.Unmarshal(raw, &h.record); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	var err error
	if h.space, err = e.space(ns); err != nil {
		return nil, err
	}
	s := h.space
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base == 0 {
		s.base = h.Base
	}
	if s.base != h.Base {
		return nil, errors.New("the record is of another process")
	}
	if h.conn, err = e.dial(ns); err != nil {
		return nil, err
	}
	if err := s.join(h); err != nil {
		h.conn.close()
		return nil, err
	}
	h.watch.Add(1)
	go h.look()
	return h, nil
}

// join puts a job into its band.
func (s *space) join(h *held) error {
	b := s.bands[h.Band]
	if b != nil && !b.filter.Equal(h.job.Filter) {
		return fmt.Errorf("its place was given to %s: prepare it again", b.filter)
	}
	if b == nil {
		if err := s.build(h); err != nil {
			return err
		}
		s.bands[h.Band] = &band{filter: h.job.Filter, held: []*held{h}}
		return nil
	}
	both := &band{filter: b.filter, held: append(b.held[:len(b.held):len(b.held)], h)}
	if err := s.change(h.conn, h.Band, both); err != nil {
		return errors.Join(err, s.change(h.conn, h.Band, b))
	}
	s.bands[h.Band] = both
	return nil
}

// build makes a band where there was none.
func (s *space) build(h *held) error {
	links, err := h.conn.links()
	if err != nil {
		return err
	}
	found, err := h.conn.qdiscs()
	if err != nil {
		return err
	}
	if err := s.unharmed(links, found, h.job.Filter); err != nil {
		return err
	}
	direction := h.job.Filter.Direction
	if direction != netem.In {
		for _, l := range links {
			if err := s.dress(h, l, found); err != nil {
				return err
			}
		}
		for _, l := range links {
			if err := h.conn.filter(l.index, h.Base, h.Band, h.job.Filter, true); err != nil {
				return fmt.Errorf("interface %s: %w", l.name, err)
			}
		}
	}
	if direction == netem.Out {
		return nil
	}
	ifb, err := h.conn.ifb(h.Base)
	if err != nil {
		return err
	}
	if err := s.dress(h, link{ifb, ifbOf(h.Base)}, found); err != nil {
		return err
	}
	if err := h.conn.filter(ifb, h.Base, h.Band, h.job.Filter, false); err != nil {
		return fmt.Errorf("interface %s: %w", ifbOf(h.Base), err)
	}
	return h.conn.divert(links, h.Base, ifb, found)
}

// dress puts the emulation on an interface, and reads it back.
func (s *space) dress(h *held, l link, found []seen) error {
	err := h.conn.prio(l.index, h.Base, h.Band, found)
	if err == nil {
		err = h.conn.netem(l.index, h.Base, h.Band, h.job.Emulation, creates)
	}
	if err == nil {
		err = h.conn.compare(l.index, h.Base, h.Band, h.job.Emulation)
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", l.name, err)
	}
	return nil
}

// compare reads an interface's netem back.
func (c *conn) compare(index int, base, band uint16, want netem.Emulation) error {
	found, err := c.qdiscs()
	if err != nil {
		return err
	}
	for _, q := range found {
		if q.index == index && q.handle == netemOf(base, band) {
			return differs(want, q.options)
		}
	}
	return errNone
}

// change brings all of a band's netem and filters to what it is to be.
func (s *space) change(c *conn, n uint16, to *band) error {
	e, err := merge(to.emulations())
	if err != nil {
		return err
	}
	found, err := c.qdiscs()
	if err != nil {
		return err
	}
	ifb, err := c.handle.LinkByName(ifbOf(s.base))
	if err != nil && !missing(err) {
		return err
	}
	changed := 0
	for _, q := range found {
		if q.handle != netemOf(s.base, n) {
			continue
		}
		changed++
		if err := c.netem(q.index, s.base, n, e, 0); err != nil {
			return err
		}
		if err := c.compare(q.index, s.base, n, e); err != nil {
			return err
		}
		out := ifb == nil || ifb.Attrs().Index != q.index
		if err := c.filter(q.index, s.base, n, to.filter, out); err != nil {
			return err
		}
	}
	if changed == 0 {
		return errNone
	}
	return nil
}

var errNone = errors.New("the kernel has no such netem any more")

// Undo implements [netem.Engine].
func (e *Engine) Undo(_ context.Context, ns int, raw json.RawMessage) error {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	s, err := e.space(ns)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := e.dial(ns)
	if err != nil {
		return err
	}
	defer c.close()
	return s.leave(c, r)
}

// leave takes a job out of its band, and the band away with the last one.
func (s *space) leave(c *conn, r record) error {
	b := s.bands[r.Band]
	if r.Base != s.base || b == nil {
		return c.remove(r.Base, r.Band)
	}
	rest := &band{filter: b.filter}
	for _, h := range b.held {
		if h.Job != r.Job {
			rest.held = append(rest.held, h)
		}
	}
	if len(rest.held) > 0 {
		if len(rest.held) < len(b.held) {
			if err := s.change(c, r.Band, rest); err != nil && !errors.Is(err, errNone) {
				return err
			}
		}
		s.bands[r.Band] = rest
		return nil
	}
	if err := c.remove(r.Base, r.Band); err != nil {
		return err
	}
	delete(s.bands, r.Band)
	delete(s.booked, r.Band)
	return nil
}

// alone says that no other job shares the band.
func (s *space) alone(r record) bool {
	b := s.bands[r.Band]
	return b != nil && len(b.held) == 1 && b.held[0].Job == r.Job
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

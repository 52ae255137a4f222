package qdisc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"chaosrunner/builtins/fault/netem"
)

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

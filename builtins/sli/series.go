package sli

import (
	"fmt"
	"math"
	"sort"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// blockSize is how many samples a series keeps raw (16 B each) before they are
// sealed into a Gorilla-compressed chunk (about 2 B each for what rarely changes).
const blockSize = 128

var staleNaN = math.Float64frombits(value.StaleNaN)

// point is one sample: Unix milliseconds and a value.
type point struct {
	t int64
	v float64
}

func (p *point) stale() bool { return value.IsStaleNaN(p.v) }

// sealed is a full block, never written again.
type sealed struct {
	first, last int64
	chunk       *chunkenc.XORChunk
}

// series is the samples of one label set. Its fields are guarded by Store.mu;
// what a view copied out of it may be read without the lock, because sealed
// chunks and the tail's elements are never changed once written.
type series struct {
	labels labels.Labels
	name   string
	src    *source
	blocks []sealed
	tail   []point
	first  int64  // time of the first sample
	last   int64  // time of the last sample, stale markers included
	live   bool   // the last sample is not a stale marker
	seen   uint64 // the source's scrape that exposed it last
	// born says that the source had been read before without this series, so
	// that it began at zero between two scrapes and its first value is an increase.
	born bool
}

func (s *series) empty() bool { return len(s.blocks) == 0 && len(s.tail) == 0 }

// append adds a sample; the caller holds the lock and has checked the order.
func (s *series) append(t int64, v float64) error {
	if s.empty() {
		s.first = t
	}
	s.tail = append(s.tail, point{t, v})
	s.last, s.live = t, !value.IsStaleNaN(v)
	if len(s.tail) < blockSize {
		return nil
	}
	chunk := chunkenc.NewXORChunk()
	app, err := chunk.Appender()
	if err != nil {
		return fmt.Errorf("sli: %s: %w", s.labels, err)
	}
	for _, p := range s.tail {
		app.Append(0, p.t, p.v)
	}
	chunk.Compact()
	s.blocks = append(s.blocks, sealed{s.tail[0].t, t, chunk})
	s.tail = make([]point, 0, blockSize) // a new one: a view may still read the old
	return nil
}

// view is a series as it was at one moment, readable without the lock.
type view struct {
	labels labels.Labels
	src    *source
	blocks []sealed
	tail   []point
	last   int64
	live   bool
	born   bool
}

func (s *series) view() view {
	return view{s.labels, s.src, s.blocks, s.tail, s.last, s.live, s.born}
}

// points returns the samples with from <= t <= to, oldest first.
func (v view) points(from, to int64) []point {
	var out []point
	first := sort.Search(len(v.blocks), func(i int) bool { return v.blocks[i].last >= from })
	for _, b := range v.blocks[first:] {
		if b.first > to {
			return out
		}
		out = b.decode(out, from, to)
	}
	i := sort.Search(len(v.tail), func(i int) bool { return v.tail[i].t >= from })
	j := sort.Search(len(v.tail), func(i int) bool { return v.tail[i].t > to })
	if i < j {
		out = append(out, v.tail[i:j]...)
	}
	return out
}

func (b sealed) decode(out []point, from, to int64) []point {
	for it := b.chunk.Iterator(nil); it.Next() == chunkenc.ValFloat; {
		t, x := it.At()
		if t > to {
			break
		}
		if t >= from {
			out = append(out, point{t, x})
		}
	}
	return out
}

// lastAt returns the newest sample at or before t that is not a stale marker.
func (v view) lastAt(t int64) (point, bool) {
	for i := sort.Search(len(v.tail), func(i int) bool { return v.tail[i].t > t }) - 1; i >= 0; i-- {
		if !v.tail[i].stale() {
			return v.tail[i], true
		}
	}
	for i := len(v.blocks) - 1; i >= 0; i-- {
		if v.blocks[i].first > t {
			continue
		}
		ps := v.blocks[i].decode(nil, math.MinInt64, t)
		for j := len(ps) - 1; j >= 0; j-- {
			if !ps[j].stale() {
				return ps[j], true
			}
		}
	}
	return point{}, false
}

package emulate

import (
	"math/rand/v2"
	"time"

	"chaosrunner/builtins/fault/netem"
)

// A slot is the burst that is being filled.
type slot struct {
	opens   time.Duration
	packets int // in it
	bytes   int
}

// next is when a packet that may be let go at t is let go: with the first slot
// from t on that has room for it.
func (s *slot) next(want *netem.Slot, rnd *rand.Rand, t time.Duration, size int) time.Duration {
	step := func() time.Duration {
		if want.Max == want.Min {
			return want.Min
		}
		return want.Min + time.Duration(rnd.Int64N(int64(want.Max-want.Min)+1))
	}
	if t-s.opens > 1000*want.Max { // long idle
		*s = slot{opens: t}
	}
	for s.opens < t || s.full(want, size) {
		*s = slot{opens: s.opens + step()}
	}
	s.packets++
	s.bytes += size
	return s.opens
}

// full: an empty slot takes a packet of any size, else it would wait forever.
func (s *slot) full(want *netem.Slot, size int) bool {
	return want.Packets > 0 && s.packets >= want.Packets ||
		want.Bytes > 0 && s.packets > 0 && s.bytes+size > want.Bytes
}

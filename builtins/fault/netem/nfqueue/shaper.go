package nfqueue

import (
	"time"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/emulate"
)

// A shaper holds the packets of one direction.
type shaper struct {
	q      *queue
	again  *injector
	emu    *emulate.Emulator
	clock  func() time.Duration
	copies bool // out: packets are copied, dropped and sent again

	most     int           // packets held
	share    float64       // of flows; 0: all
	patience time.Duration // by which a packet may be seen late, where they come thick
	asked    config        // of the kernel
	held     emulate.Queue[held]
	weight   int // of what is held, in packets
	run      run
	pool     [][]byte
	stats    netem.Stats
	slept    time.Duration // sum of delays
}

// held is what waits for its time: a packet that the kernel keeps for us, or a
// copy that is sent.
type held struct {
	came    time.Duration
	weight  int
	id      uint32
	kept    bool   // by the kernel
	altered []byte // then: what replaces its payload
	parcel
}

// A run is packets that were read one after another and meet one verdict, as
// yet untold: the kernel takes it for all of them at once.
type run struct {
	verdict uint32
	last    uint32
	n       int
}

const (
	headers = 128   // of a packet, to know its flow
	all     = 65535 // of it
	unread  = 16384 // packets that may wait to be read, beyond those that are held
	segment = 1500  // of a packet that came whole, as which it counts
)

// set changes what happens to packets from the next one on.
func (s *shaper) set(f netem.Filter, e netem.Emulation, stream uint64) error {
	if s.emu == nil {
		s.emu = emulate.New(e, stream)
	} else {
		s.emu.Update(e)
	}
	s.most, s.share = e.Holds(), f.Partial()
	s.patience = min(e.Delay/20, 200*time.Microsecond)
	ask := config{size: headers, room: uint32(s.most + unread)}
	if s.copies || e.Duplicate > 0 || e.Corrupt > 0 {
		ask.size = all
	}
	if !s.copies {
		// A large packet may stay one where all of its parts meet one fate, and
		// nobody counts them.
		ask.whole = e.Limit == 0 && e.Loss == 0 && e.LossModel == nil && e.Duplicate == 0 && e.Corrupt == 0 &&
			e.Reorder == 0 && e.Rate == 0 && e.Slot == nil
	}
	if ask == s.asked {
		return nil
	}
	s.asked = ask
	return s.q.configure(ask)
}

// arrive decides about a packet.
func (s *shaper) arrive(p packet) {
	if s.share > 0 && !s.meant(p.payload) {
		s.judge(accept, p)
		return
	}
	now := s.clock()
	s.stats.Packets++
	s.stats.Bytes += uint64(p.length)
	fate := s.emu.Decide(now, p.length)
	switch first := fate.Copies[0]; {
	case fate.N == 0:
		s.stats.Dropped++
		s.judge(drop, p)
		return
	case fate.N == 1 && first.At <= now && !first.Corrupted && s.held.Len() == 0: // as if there were no fault
		s.stats.Delayed++
		s.judge(accept, p)
		return
	case s.weight+fate.N*s.weigh(p) > s.most:
		s.stats.Overflowed++
		s.judge(drop, p)
		return
	case fate.N == 2:
		s.stats.Duplicated++
	}
	resend := s.copies && s.again.fits(p, now)
	for i, c := range fate.Copies[:fate.N] {
		s.hold(p, c, now, i == 0 && !resend)
	}
	if resend {
		s.judge(drop, p)
	} else {
		s.tell() // it ends a run
	}
}

// hold holds one copy of a packet: the packet itself, which the kernel keeps,
// or a copy that is sent.
func (s *shaper) hold(p packet, c emulate.Copy, now time.Duration, kept bool) {
	if len(p.payload) < p.length && (c.Corrupted || !kept) {
		// It came before the kernel knew that packets are wanted as a whole.
		if c.Corrupted = false; !kept {
			return
		}
	}
	h := held{came: now, id: p.id, kept: kept, weight: s.weigh(p)}
	s.weight += h.weight
	if !kept {
		h.parcel = s.parcel(p)
	}
	if c.Corrupted {
		s.stats.Corrupted++
		if kept {
			h.altered = append([]byte(nil), p.payload...)
			corrupt(h.altered, s.emu.Bit)
		} else {
			corrupt(h.body, s.emu.Bit)
		}
	}
	if c.Reordered {
		s.stats.Reordered++
	}
	s.held.Put(c.At, h)
}

// weigh says how many packets one counts as towards the limit: a large one that
// came whole as those that the wire would see, since the limit bounds memory.
func (s *shaper) weigh(p packet) int {
	if !s.asked.whole {
		return 1
	}
	return max(1, p.length/segment)
}

// meant: its flow is among the share of flows.
func (s *shaper) meant(payload []byte) bool {
	h, ok := parseHeader(payload)
	return ok && h.flow() < s.share
}

// judge says what becomes of a packet that has just been read. The kernel can
// be told of a run at once only if it holds no other packet before.
func (s *shaper) judge(verdict uint32, p packet) {
	if s.run.n > 0 && s.run.verdict != verdict {
		s.tell()
	}
	if s.q.waiting == s.run.n+1 {
		s.run = run{verdict, p.id, s.run.n + 1}
		return
	}
	s.tell()
	s.q.judge(verdict, p.id, nil)
}

// tell puts the verdict on a run on its way.
func (s *shaper) tell() {
	if s.run.n > 0 {
		s.q.judgeUpTo(s.run.verdict, s.run.last, s.run.n)
		s.run = run{}
	}
}

// parcel copies a packet.
func (s *shaper) parcel(p packet) parcel {
	const usual = 2048
	c := parcel{mark: p.mark, out: p.out}
	if n := len(s.pool); n > 0 && len(p.payload) <= usual {
		c.body, s.pool = s.pool[n-1], s.pool[:n-1]
	} else {
		c.body = make([]byte, 0, max(usual, len(p.payload)))
	}
	c.fromPool = cap(c.body) == usual
	c.body = append(c.body, p.payload...)
	return c
}

// release lets go of what is due. It says how many that were.
func (s *shaper) release(due time.Duration, most int) (n int) {
	now := s.clock()
	for ; n < most; n++ {
		at, ok := s.held.Next()
		if !ok || at > due {
			break
		}
		h := s.held.Take()
		s.weight -= h.weight
		s.stats.Delayed++
		s.slept += now - h.came
		s.stats.MaxDelay = max(s.stats.MaxDelay, now-h.came)
		if h.kept {
			s.q.judge(accept, h.id, h.altered)
			continue
		}
		s.again.put(h.parcel)
		if h.fromPool && len(s.pool) < 1024 {
			s.pool = append(s.pool, h.body[:0]) // read again at the next arrival, after the flush
		}
	}
	s.again.flush()
	return n
}

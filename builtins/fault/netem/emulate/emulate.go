// Package emulate decides what happens to each packet. It is pure: given a
// seed, and the sizes and times of packets, it always decides alike; it knows
// no clock, no packets and no kernel.
//
//	packet ─▶ lost? ─▶ duplicated? ─▶ corrupted? ─▶ overtakes? ─▶ link (rate) ─▶ delay ± jitter ─▶ slot ─▶ time to let go
//
// The models are those of the kernel's sch_netem, with one difference: a
// correlation leaves the share and the distribution as they were asked for
// (sch_netem's mixes numbers so that 1 % of loss becomes less).
package emulate

import (
	"math"
	"math/rand/v2"
	"time"

	"chaosrunner/builtins/fault/netem"
)

// An Emulator decides for one direction. It is used by one goroutine at a time.
type Emulator struct {
	e   netem.Emulation
	rnd *rand.Rand

	jitter, loss, duplicate, corrupt, reorder *correlated
	table                                     func(u float64) float64
	model                                     model

	counter int           // packets since the last that overtook
	busy    time.Duration // until then the link is sending
	slot    slot
}

// A Fate is what becomes of one packet: it is let go once for each of Copies.
type Fate struct {
	Copies [2]Copy
	N      int // of Copies; 0: lost
}

// A Copy of a packet.
type Copy struct {
	At        time.Duration // to be let go then
	Corrupted bool
	Reordered bool // overtakes
}

// New makes an emulator. The emulation is valid. stream tells emulators of one
// seed apart, such as those of two directions.
func New(e netem.Emulation, stream uint64) *Emulator {
	seed := e.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	m := &Emulator{rnd: rand.New(rand.NewPCG(seed, stream))}
	m.Update(e)
	return m
}

// Update changes the emulation from the next packet on. What the link is
// sending, it goes on sending.
func (m *Emulator) Update(e netem.Emulation) {
	keep := func(old *correlated, rho float64) *correlated {
		if old != nil && old.rho == rho {
			return old
		}
		return newCorrelated(m.rnd, rho)
	}
	m.jitter = keep(m.jitter, e.Correlation)
	m.loss = keep(m.loss, e.LossCorrelation)
	m.duplicate = keep(m.duplicate, e.DuplicateCorrelation)
	m.corrupt = keep(m.corrupt, e.CorruptCorrelation)
	m.reorder = keep(m.reorder, e.ReorderCorrelation)
	m.table = quantile(e.Distribution, e.Table)
	if !sameModel(m.e.LossModel, e.LossModel) {
		m.model = newModel(e.LossModel)
	}
	if !equal(e.Slot, m.e.Slot) {
		m.slot = slot{}
	}
	m.e = e
}

// Decide says what becomes of a packet of size bytes that came now. Times
// count from any one moment and do not go back.
func (m *Emulator) Decide(now time.Duration, size int) Fate {
	var f Fate
	n := 1
	if m.duplicate.below(m.e.Duplicate) {
		n++
	}
	if m.lost() {
		n--
	}
	for range n {
		f.Copies[f.N] = m.copy(now, size)
		f.N++
	}
	return f
}

// Bit picks the bit to flip among n bytes: its byte, and its mask.
func (m *Emulator) Bit(n int) (at int, mask byte) {
	return m.rnd.IntN(n), 1 << m.rnd.IntN(8)
}

func (m *Emulator) lost() bool {
	if m.model != nil {
		return m.model.lost(m.rnd)
	}
	return m.loss.below(m.e.Loss)
}

func (m *Emulator) copy(now time.Duration, size int) Copy {
	c := Copy{At: now, Corrupted: m.corrupt.below(m.e.Corrupt)}
	if m.overtakes() {
		c.Reordered = true
		return c
	}
	if m.e.Rate > 0 {
		m.busy = max(m.busy, now) + m.sending(size)
		c.At = m.busy
	}
	c.At += m.delay()
	if m.e.Slot != nil {
		c.At = m.slot.next(m.e.Slot, m.rnd, c.At, size)
	}
	return c
}

// overtakes: sent at once, while those before it are held. At most every
// Gap-th packet is.
func (m *Emulator) overtakes() bool {
	if m.e.Reorder == 0 {
		return false
	}
	if m.counter < m.e.Gap-1 || !m.reorder.below(m.e.Reorder) {
		m.counter++
		return false
	}
	m.counter = 0
	return true
}

func (m *Emulator) delay() time.Duration {
	if m.e.Jitter == 0 {
		return m.e.Delay
	}
	off := m.table(m.jitter.next()) * float64(m.e.Jitter)
	return max(0, m.e.Delay+time.Duration(math.Round(off)))
}

// sending is the time that a packet takes on the link.
func (m *Emulator) sending(size int) time.Duration {
	bytes := size + m.e.Overhead
	if cell := m.e.CellSize; cell > 0 {
		bytes = (max(bytes, 0) + cell - 1) / cell * (cell + m.e.CellOverhead)
	}
	return time.Duration(float64(max(bytes, 0)) * 8 / float64(m.e.Rate) * float64(time.Second))
}

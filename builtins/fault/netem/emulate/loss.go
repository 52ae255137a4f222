package emulate

import (
	"math/rand/v2"

	"chaosrunner/builtins/fault/netem"
)

// A model is loss that remembers.
type model interface {
	lost(*rand.Rand) bool
}

func newModel(m *netem.LossModel) model {
	switch {
	case m == nil:
		return nil
	case m.GE != nil:
		return &gilbertElliott{GE: *m.GE}
	}
	return &fourState{State: *m.State, at: inGap}
}

// equal compares what two pointers point to.
func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

func sameModel(a, b *netem.LossModel) bool {
	return a == b || a != nil && b != nil && equal(a.GE, b.GE) && equal(a.State, b.State)
}

// gilbertElliott: runs in the bad state last 1/r packets on average, and a
// share of p/(p+r) of all packets meets it.
type gilbertElliott struct {
	netem.GE
	bad bool
}

func (g *gilbertElliott) lost(rnd *rand.Rand) bool {
	leave, loss := g.P, g.OneK
	if g.bad {
		leave, loss = g.R, g.OneH
	}
	if rnd.Float64() < leave {
		g.bad = !g.bad
	}
	return rnd.Float64() < loss
}

// fourState is the Markov chain of netem's state(...):
//
//	4 ◀─p14─ 1 ─p13─▶ 3 ─p32─▶ 2
//	└───1──▶ ◀─p31─── ◀──p23──
type fourState struct {
	netem.State
	at int
}

const (
	inGap       = 1 // received, in a gap between bursts
	inBurst     = 2 // received, in a burst
	lostInBurst = 3
	lostInGap   = 4
)

func (s *fourState) lost(rnd *rand.Rand) bool {
	u := rnd.Float64()
	switch s.at {
	case inGap:
		if u < s.P14 {
			s.at = lostInGap
		} else if u < s.P14+s.P13 {
			s.at = lostInBurst
		}
	case inBurst:
		if u < s.P23 {
			s.at = lostInBurst
		}
	case lostInBurst:
		if u < s.P32 {
			s.at = inBurst
		} else if u < s.P32+s.P31 {
			s.at = inGap
		}
	case lostInGap:
		s.at = inGap
	}
	return s.at == lostInBurst || s.at == lostInGap
}

// Package netem is how a network misbehaves, as data, and the contract of the
// engines that make it so.
//
//	netem("payments", peers = ["api"], delay = "400ms", loss = "1%")
//	                   └── Filter ──┘  └────── Emulation ──────┘
//	                                   │
//	              qdisc (sch_netem) ◀──┴──▶ nfqueue (our own queue)
//
// A Filter says which packets of a target are meant, an Emulation what happens
// to them, and an Engine makes it happen in the target's network namespace.
package netem

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// An Emulation is what happens to packets. Shares are in 0..1. Its zero value
// does nothing, and is refused.
type Emulation struct {
	Delay        time.Duration `json:"delay,omitempty"`        // added to each packet
	Jitter       time.Duration `json:"jitter,omitempty"`       // around the delay: a standard deviation, or half the width of uniform
	Correlation  float64       `json:"correlation,omitempty"`  // of a packet's delay with the one before
	Distribution string        `json:"distribution,omitempty"` // of the jitter; empty: Uniform
	Table        []int16       `json:"table,omitempty"`        // of the distribution "table": 8192 stands for one jitter

	Loss            float64    `json:"loss,omitempty"`
	LossCorrelation float64    `json:"loss_correlation,omitempty"`
	LossModel       *LossModel `json:"loss_model,omitempty"` // instead of Loss

	Duplicate            float64 `json:"duplicate,omitempty"`
	DuplicateCorrelation float64 `json:"duplicate_correlation,omitempty"`
	Corrupt              float64 `json:"corrupt,omitempty"` // one bit of the packet
	CorruptCorrelation   float64 `json:"corrupt_correlation,omitempty"`
	Reorder              float64 `json:"reorder,omitempty"` // sent at once, before those that are delayed
	ReorderCorrelation   float64 `json:"reorder_correlation,omitempty"`
	Gap                  int     `json:"gap,omitempty"` // only every Gap-th packet may be reordered; 0: each

	Rate         int64 `json:"rate,omitempty"`     // bits a second
	Overhead     int   `json:"overhead,omitempty"` // bytes a packet costs beyond its own; may be negative
	CellSize     int   `json:"cell_size,omitempty"`
	CellOverhead int   `json:"cell_overhead,omitempty"`

	Slot  *Slot  `json:"slot,omitempty"`
	Limit int    `json:"limit,omitempty"` // packets held at once; 0: computed, see Holds
	Seed  uint64 `json:"seed,omitempty"`  // of its randomness; 0: any
}

// The distributions of jitter.
const (
	Uniform      = "uniform"
	Normal       = "normal"
	Pareto       = "pareto"
	ParetoNormal = "paretonormal"
	OwnTable     = "table" // Emulation.Table
)

// Distributions are all of them, OwnTable aside.
var Distributions = []string{Uniform, Normal, Pareto, ParetoNormal}

// A LossModel is loss in bursts. Exactly one of its parts is set.
type LossModel struct {
	GE    *GE    `json:"ge,omitempty"`
	State *State `json:"state,omitempty"`
}

// GE is the Gilbert-Elliott model: two states, each with a loss of its own.
type GE struct {
	P    float64 `json:"p"`     // good to bad
	R    float64 `json:"r"`     // bad to good
	OneH float64 `json:"one_h"` // loss in the bad state, 1−h
	OneK float64 `json:"one_k"` // loss in the good state, 1−k
}

// State is the 4-state Markov model of netem: 1 received in a gap, 2 received
// in a burst, 3 lost in a burst, 4 lost alone in a gap.
type State struct {
	P13 float64 `json:"p13"`
	P31 float64 `json:"p31"`
	P32 float64 `json:"p32"`
	P23 float64 `json:"p23"`
	P14 float64 `json:"p14"`
}

// A Slot delivers packets in bursts: every Min to Max a slot opens, and lets at
// most Packets and Bytes through (0: no limit).
type Slot struct {
	Min     time.Duration `json:"min"`
	Max     time.Duration `json:"max"`
	Packets int           `json:"packets,omitempty"`
	Bytes   int           `json:"bytes,omitempty"`
}

// What no network does, or no engine holds.
const (
	MaxDelay = time.Minute
	MaxRate  = int64(100e9)
	MaxLimit = 1_000_000
	maxTable = 16384
)

// Validate refuses what can never be right. Its errors name the parameter.
func (e *Emulation) Validate() error {
	for _, check := range []func() error{e.validDelay, e.validShares, e.validModel, e.validRate, e.validSlot, e.something} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (e *Emulation) validDelay() error {
	switch {
	case e.Delay < 0 || e.Delay > MaxDelay:
		return fmt.Errorf("delay: got %v, want 0 to %v", e.Delay, MaxDelay)
	case e.Jitter < 0 || e.Jitter > MaxDelay:
		return fmt.Errorf("jitter: got %v, want 0 to %v", e.Jitter, MaxDelay)
	case e.Jitter > 0 && e.Delay == 0:
		return fmt.Errorf("jitter: got %v without a delay, want delay = … too", e.Jitter)
	case e.Jitter > e.Delay:
		return fmt.Errorf("jitter: got %v, want at most the delay of %v: no packet arrives before it was sent", e.Jitter, e.Delay)
	case e.Jitter == 0 && e.Correlation != 0:
		return errors.New("correlation: got one without jitter, want jitter = … too: delays that are all the same need none")
	case e.Jitter == 0 && (e.Distribution != "" || len(e.Table) > 0):
		return errors.New("distribution: got one without jitter, want jitter = … too")
	case e.Distribution == OwnTable:
		if n := len(e.Table); n < 2 || n > maxTable {
			return fmt.Errorf("distribution: got a table of %d values, want 2 to %d", n, maxTable)
		}
	case len(e.Table) > 0:
		return fmt.Errorf("distribution: got a table and the distribution %q", e.Distribution)
	case e.Distribution != "" && !slices.Contains(Distributions, e.Distribution):
		return fmt.Errorf("distribution: got %q, want one of %s, or a list of numbers", e.Distribution, strings.Join(Distributions, ", "))
	}
	return nil
}

func (e *Emulation) validShares() error {
	for _, s := range []struct {
		name         string
		share        float64
		of           string // what a correlation belongs to
		base         float64
		isCorrelated bool
	}{
		{name: "loss", share: e.Loss},
		{name: "duplicate", share: e.Duplicate},
		{name: "corrupt", share: e.Corrupt},
		{name: "reorder", share: e.Reorder},
		{name: "correlation", share: e.Correlation},
		{"loss_correlation", e.LossCorrelation, "loss", e.Loss, true},
		{"duplicate_correlation", e.DuplicateCorrelation, "duplicate", e.Duplicate, true},
		{"corrupt_correlation", e.CorruptCorrelation, "corrupt", e.Corrupt, true},
		{"reorder_correlation", e.ReorderCorrelation, "reorder", e.Reorder, true},
	} {
		if !share(s.share) {
			return fmt.Errorf("%s: got %g%%, want 0%% to 100%%", s.name, s.share*100)
		}
		if s.isCorrelated && s.share > 0 && s.base == 0 {
			return fmt.Errorf("%s: got one without %s, want %s = … too", s.name, s.of, s.of)
		}
	}
	switch {
	case e.Gap < 0 || e.Gap > MaxLimit:
		return fmt.Errorf("gap: got %d, want 1 to %d packets", e.Gap, MaxLimit)
	case e.Gap > 0 && e.Reorder == 0:
		return errors.New("gap: got one without reorder, want reorder = … too")
	case e.Reorder > 0 && e.Delay == 0:
		return errors.New("reorder: got it without a delay, want delay = … too: what is reordered overtakes what is delayed")
	}
	return nil
}

func share(x float64) bool { return !math.IsNaN(x) && x >= 0 && x <= 1 }

func (e *Emulation) validModel() error {
	m := e.LossModel
	if m == nil {
		return nil
	}
	if e.Loss > 0 {
		return errors.New("loss_model: got it and loss, want one of them")
	}
	if (m.GE == nil) == (m.State == nil) {
		return errors.New("loss_model: got neither or both of gemodel and state, want one of them")
	}
	var named map[string]float64
	if g := m.GE; g != nil {
		named = map[string]float64{"p": g.P, "r": g.R, "one_h": g.OneH, "one_k": g.OneK}
	} else {
		s := m.State
		named = map[string]float64{"p13": s.P13, "p31": s.P31, "p32": s.P32, "p23": s.P23, "p14": s.P14}
	}
	for name, x := range named {
		if !share(x) {
			return fmt.Errorf("loss_model: %s: got %g%%, want 0%% to 100%%", name, x*100)
		}
	}
	if s := m.State; s != nil && (s.P13+s.P14 > 1 || s.P31+s.P32 > 1) {
		return errors.New("loss_model: got transitions out of one state that are more than 100% together (p13 + p14, p31 + p32)")
	}
	return nil
}

func (e *Emulation) validRate() error {
	switch {
	case e.Rate != 0 && (e.Rate < 8 || e.Rate > MaxRate):
		return fmt.Errorf("rate: got %d bits a second, want 8 to %d", e.Rate, MaxRate)
	case e.Rate == 0 && (e.Overhead != 0 || e.CellSize != 0 || e.CellOverhead != 0):
		return errors.New("overhead: got one without a rate, want rate = … too")
	case e.Overhead < -1500 || e.Overhead > 1500:
		return fmt.Errorf("overhead: got %d bytes, want -1500 to 1500", e.Overhead)
	case e.CellSize < 0 || e.CellSize > 65535 || e.CellOverhead < -1500 || e.CellOverhead > 1500:
		return fmt.Errorf("overhead: got cells of %d bytes and %d more, want at most 65535 and 1500", e.CellSize, e.CellOverhead)
	case e.CellOverhead != 0 && e.CellSize == 0:
		return errors.New("overhead: got one for cells without their size")
	case e.Limit < 0 || e.Limit > MaxLimit:
		return fmt.Errorf("limit: got %d packets, want 1 to %d", e.Limit, MaxLimit)
	}
	return nil
}

func (e *Emulation) validSlot() error {
	s := e.Slot
	switch {
	case s == nil:
		return nil
	case s.Min <= 0 || s.Max < s.Min || s.Max > MaxDelay:
		return fmt.Errorf("slot: got %v to %v, want a time above 0, and at most %v", s.Min, s.Max, MaxDelay)
	case s.Packets < 0 || s.Bytes < 0 || s.Packets > MaxLimit || s.Bytes > 1<<30:
		return fmt.Errorf("slot: got %d packets and %d bytes, want at least 0", s.Packets, s.Bytes)
	}
	return nil
}

func (e *Emulation) something() error {
	if e.Delay == 0 && e.Loss == 0 && e.LossModel == nil && e.Duplicate == 0 && e.Corrupt == 0 && e.Rate == 0 && e.Slot == nil {
		return errors.New("got nothing to do, want at least one of delay, loss, loss_model, duplicate, corrupt, rate, slot")
	}
	return nil
}

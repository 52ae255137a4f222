package builtins

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	fnetem "chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/notation"
)

// distribution is a distribution of jitter by its name, or as a list of numbers
// in which 8192 stands for one jitter.
type distribution struct {
	name  string
	table []int16
}

// Unpack implements starlark.Unpacker.
func (d *distribution) Unpack(v starlark.Value) error {
	wanted := fmt.Sprintf("%s, or a list of numbers in which 8192 stands for one jitter", strings.Join(fnetem.Distributions, ", "))
	switch v := v.(type) {
	case starlark.String:
		if !slices.Contains(fnetem.Distributions, string(v)) {
			return fmt.Errorf("got %s, want one of %s", notation.Got(v), wanted)
		}
		*d = distribution{name: string(v)}
		return nil
	case *starlark.List, starlark.Tuple:
		const most = 16384
		if n := starlark.Len(v); n < 2 || n > most {
			return fmt.Errorf("got a list of %d numbers, want 2 to %d", n, most)
		}
		var table []int16
		for x := range starlark.Elements(v.(starlark.Iterable)) {
			n, err := starlark.AsInt32(x)
			if err != nil || n < math.MinInt16 || n > math.MaxInt16 {
				return fmt.Errorf("got %s in a list, want numbers from %d to %d", notation.Got(x), math.MinInt16, math.MaxInt16)
			}
			table = append(table, int16(n))
		}
		*d = distribution{name: fnetem.OwnTable, table: table}
		return nil
	}
	return fmt.Errorf("got %s, want one of %s", notation.Got(v), wanted)
}

// gemodel(p, r = None, *, one_h = "100%", one_k = "0%")
func gemodel(_ *Session, c *call) (starlark.Value, error) {
	var p, r, oneH, oneK notation.Share
	r = -1
	if err := c.unpack(&p, &r, &oneH, &oneK); err != nil {
		return nil, err
	}
	if r < 0 { // as if each packet were drawn by itself
		r = 1 - p
	}
	return newLossModel(fnetem.LossModel{GE: &fnetem.GE{P: float64(p), R: float64(r), OneH: float64(oneH), OneK: float64(oneK)}})
}

// state(p13, p31 = None, *, p32 = "0%", p23 = "100%", p14 = "0%")
func state(_ *Session, c *call) (starlark.Value, error) {
	var p13, p31, p32, p23, p14 notation.Share
	p31 = -1
	if err := c.unpack(&p13, &p31, &p32, &p23, &p14); err != nil {
		return nil, err
	}
	if p31 < 0 {
		p31 = 1 - p13
	}
	return newLossModel(fnetem.LossModel{State: &fnetem.State{
		P13: float64(p13), P31: float64(p31), P32: float64(p32), P23: float64(p23), P14: float64(p14),
	}})
}

// lossModel is what gemodel and state return.
type lossModel struct {
	constant
	model fnetem.LossModel
}

func newLossModel(m fnetem.LossModel) (starlark.Value, error) {
	if err := (&fnetem.Emulation{LossModel: &m}).Validate(); err != nil {
		return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "loss_model: "))
	}
	return &lossModel{model: m}, nil
}

func (m *lossModel) String() string {
	if m.model.GE != nil {
		return fmt.Sprintf("<gemodel %+v>", *m.model.GE)
	}
	return fmt.Sprintf("<state %+v>", *m.model.State)
}

func (m *lossModel) Type() string { return "loss_model" }

// slot(min, max = None, *, packets = None, bytes = None)
func slot(_ *Session, c *call) (starlark.Value, error) {
	var (
		from, to notation.Duration
		packets  = notation.Whole{From: 1, To: fnetem.MaxLimit, Of: "packets"}
		bytes    notation.Size
	)
	if err := c.unpack(&from, &to, &packets, &bytes); err != nil {
		return nil, err
	}
	if to == 0 {
		to = from
	}
	v := &slotValue{slot: fnetem.Slot{Min: time.Duration(from), Max: time.Duration(to), Packets: int(packets.Value), Bytes: int(bytes)}}
	if err := (&fnetem.Emulation{Slot: &v.slot}).Validate(); err != nil {
		return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "slot: "))
	}
	return v, nil
}

// slotValue is what slot returns.
type slotValue struct {
	constant
	slot fnetem.Slot
}

func (v *slotValue) String() string { return fmt.Sprintf("<slot %v to %v>", v.slot.Min, v.slot.Max) }
func (v *slotValue) Type() string   { return "slot" }

// constant is embedded in values that stand for part of a call's arguments.
type constant struct{}

func (constant) Freeze()               {}
func (constant) Truth() starlark.Bool  { return true }
func (constant) Hash() (uint32, error) { return 0, errors.New("cannot be a key") }

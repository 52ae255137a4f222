package qdisc

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/vishvananda/netlink/nl"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/emulate"
)

// The attributes of netem that the library has no names for: linux/pkt_sched.h.
const (
	attrLatency64 = 10
	attrJitter64  = 11
	attrSlot      = 12
	attrSeed      = 14

	lossState = 1 // NETEM_LOSS_GI
	lossGE    = 2
)

const nsPerTick = 64 // PSCHED_SHIFT, since Linux 2.6.31

// full is a share of 1.
const full = math.MaxUint32

func share(x float64) uint32 { return uint32(math.Round(x * full)) }

// words are the 32-bit numbers of a structure.
func words(all ...uint32) (raw []byte) {
	for _, w := range all {
		raw = binary.NativeEndian.AppendUint32(raw, w)
	}
	return raw
}

func wide(n int64) []byte { return binary.NativeEndian.AppendUint64(nil, uint64(n)) }

// ticks are for kernels that do not know the times in nanoseconds.
func ticks(d time.Duration) uint32 { return uint32(min(int64(d)/nsPerTick, math.MaxUint32)) }

// A param is one of netem's attributes, and which parameter it stands for.
type param struct {
	name   string // in the language
	kind   int
	value  []byte
	silent bool // the kernel does not show it
	zero   bool // shown only if it is not 0
}

// head is the structure that all attributes follow.
func head(e netem.Emulation) []byte {
	gap := uint32(e.Gap)
	if e.Reorder > 0 && gap == 0 {
		gap = 1
	}
	return words(ticks(e.Delay), uint32(e.Holds()), share(e.Loss), gap, share(e.Duplicate), ticks(e.Jitter))
}

// params are all attributes. Each is always sent, as the kernel keeps what is
// not: after a change there must be nothing left of what was before. flat says
// that jitter must be uniform, and that the kernel may have another table.
func params(e netem.Emulation, flat bool) []param {
	rate := uint32(min(uint64(e.Rate)/8, math.MaxUint32))
	all := []param{
		{name: "correlation", kind: nl.TCA_NETEM_CORR, value: words(share(e.Correlation), share(e.LossCorrelation), share(e.DuplicateCorrelation))},
		{name: "reorder", kind: nl.TCA_NETEM_REORDER, value: words(share(e.Reorder), share(e.ReorderCorrelation))},
		{name: "corrupt", kind: nl.TCA_NETEM_CORRUPT, value: words(share(e.Corrupt), share(e.CorruptCorrelation))},
		{name: "rate", kind: nl.TCA_NETEM_RATE, value: words(rate, uint32(e.Overhead), uint32(e.CellSize), uint32(e.CellOverhead))},
		{name: "delay", kind: attrLatency64, value: wide(int64(e.Delay))},
		{name: "jitter", kind: attrJitter64, value: wide(int64(e.Jitter))},
		{name: "slot", kind: attrSlot, value: slot(e.Slot), zero: e.Slot == nil},
	}
	if uint64(e.Rate)/8 > math.MaxUint32 {
		all = append(all, param{name: "rate", kind: nl.TCA_NETEM_RATE64, value: wide(e.Rate / 8)})
	}
	if e.Seed != 0 {
		all = append(all, param{name: "seed", kind: attrSeed, value: wide(int64(e.Seed))})
	}
	uniform := e.Distribution == "" || e.Distribution == netem.Uniform
	if e.Jitter > 0 && (flat || !uniform) {
		var table []byte
		for _, x := range emulate.Table(e) {
			table = binary.NativeEndian.AppendUint16(table, uint16(x))
		}
		all = append(all, param{name: "distribution", kind: nl.TCA_NETEM_DELAY_DIST, value: table, silent: true})
	}
	return all
}

func slot(s *netem.Slot) []byte {
	if s == nil {
		s = &netem.Slot{}
	}
	raw := append(wide(int64(s.Min)), wide(int64(s.Max))...)
	raw = append(raw, words(uint32(s.Packets), uint32(s.Bytes))...)
	return append(raw, make([]byte, 16)...) // its own distribution, which is not asked for
}

// model is the attribute of a loss model, inside that of loss. The kernel's
// third number of Gilbert and Elliott is the share that the bad state lets pass.
func model(m *netem.LossModel) (kind int, value []byte) {
	if g := m.GE; g != nil {
		return lossGE, words(share(g.P), share(g.R), share(1-g.OneH), share(g.OneK))
	}
	s := m.State
	return lossState, words(share(s.P13), share(s.P31), share(s.P32), share(s.P14), share(s.P23))
}

// options is all of it.
func options(e netem.Emulation, flat bool) *nl.RtAttr {
	options := nl.NewRtAttr(nl.TCA_OPTIONS, head(e))
	for _, p := range params(e, flat) {
		options.AddRtAttr(p.kind, p.value)
	}
	if e.LossModel != nil {
		options.AddRtAttr(nl.TCA_NETEM_LOSS, nil).AddRtAttr(model(e.LossModel))
	}
	return options
}

// differs compares what the kernel holds with what was asked, and names the
// first parameter that it has otherwise: silently ignored, or cut.
func differs(e netem.Emulation, held []byte) error {
	want := head(e)
	if len(held) < len(want) {
		return fmt.Errorf("netem: the kernel holds %d bytes, want %d at least", len(held), len(want))
	}
	for i, name := range []string{"", "limit", "loss", "gap", "duplicate", ""} { // times: see below
		got, want := binary.NativeEndian.Uint32(held[4*i:]), binary.NativeEndian.Uint32(want[4*i:])
		if name != "" && got != want {
			return fmt.Errorf("%s: the kernel holds %d, want %d", name, got, want)
		}
	}
	attrs, err := nl.ParseRouteAttr(held[len(want):])
	if err != nil {
		return fmt.Errorf("netem: %w", err)
	}
	shown := map[int][]byte{}
	for _, a := range attrs {
		shown[int(a.Attr.Type)&nlaType] = a.Value
	}
	for _, p := range params(e, false) {
		got, there := shown[p.kind]
		if p.silent || p.zero && !there {
			continue
		}
		if string(got) != string(p.value) {
			return fmt.Errorf("%s: the kernel holds %x, want %x: it is too old for it, or was changed by somebody", p.name, got, p.value)
		}
	}
	return differsInModel(e.LossModel, shown[nl.TCA_NETEM_LOSS])
}

const nlaType = 0x3fff // the other bits are flags

func differsInModel(m *netem.LossModel, held []byte) error {
	attrs, err := nl.ParseRouteAttr(held)
	if err != nil {
		return fmt.Errorf("loss_model: %w", err)
	}
	if m == nil && len(attrs) == 0 {
		return nil
	}
	if m != nil && len(attrs) == 1 {
		kind, want := model(m)
		if got := attrs[0]; int(got.Attr.Type)&nlaType == kind && string(got.Value) == string(want) {
			return nil
		}
	}
	return fmt.Errorf("loss_model: the kernel holds %x, want %+v", held, m)
}

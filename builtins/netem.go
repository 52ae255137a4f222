package builtins

import (
	"math"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	fnetem "chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/notation"
)

// netem(target, *, delay = None, jitter = None, correlation = None,
// distribution = None, loss = None, loss_correlation = None, loss_model = None,
// duplicate = None, duplicate_correlation = None, corrupt = None,
// corrupt_correlation = None, reorder = None, reorder_correlation = None,
// gap = None, rate = None, overhead = None, cell_size = None,
// cell_overhead = None, slot = None, limit = None, seed = None, peers = None,
// port = None, peer_port = None, protocol = None, direction = "out",
// traffic = None, engine = "auto", duration = None)
func netem(s *Session, c *call) (starlark.Value, error) {
	var (
		target         notation.Targets
		peers          notation.Peers
		port, peerPort notation.Port
		protocol       = notation.Choice{Of: fnetem.Protocols}
		direction      = notation.Choice{Of: []string{fnetem.Out, fnetem.In, fnetem.Both}}
		traffic        = notation.Percent(s.declared.experiment.BlastRadius.Traffic)
		engine         = notation.Choice{Of: append([]string{fault.Auto}, fault.EngineNames()...)}
		duration       notation.Duration
		e              emulation
	)
	into := append([]any{&target}, e.into()...)
	into = append(into, &peers, &port, &peerPort, &protocol, &direction, &traffic, &engine, &duration)
	if err := c.unpack(into...); err != nil {
		return nil, err
	}
	n := &fault.Netem{
		Emulation: e.value(), Direction: direction.Value, Peers: peers, Protocol: protocol.Value,
		Port: int(port), PeerPort: int(peerPort), Engine: engine.Value,
	}
	if traffic < 1 {
		n.Share = float64(traffic)
	}
	h, err := s.inject(c, target, n, duration)
	if err != nil {
		return nil, err
	}
	h.updates(updateSignature, func(c *call) (params, error) {
		changed := e // what is not given stays as it is
		if err := c.unpack(changed.into()...); err != nil {
			return nil, err
		}
		with := *n
		with.Emulation = changed.value()
		if err := with.Validate(); err != nil {
			return nil, err
		}
		e = changed
		return &with, nil
	})
	return h, nil
}

// netemSignature stands here for its length.
const netemSignature = `netem(target, *, delay = None, jitter = None, correlation = None, distribution = None, loss = None, loss_correlation = None, loss_model = None, duplicate = None, duplicate_correlation = None, corrupt = None, corrupt_correlation = None, reorder = None, reorder_correlation = None, gap = None, rate = None, overhead = None, cell_size = None, cell_overhead = None, slot = None, limit = None, seed = None, peers = None, port = None, peer_port = None, protocol = None, direction = "out", traffic = None, engine = "auto", duration = None)`

// updateSignature has the parameters of netem that its handle can change.
const updateSignature = `update(*, delay = None, jitter = None, correlation = None, distribution = None, loss = None, loss_correlation = None, loss_model = None, duplicate = None, duplicate_correlation = None, corrupt = None, corrupt_correlation = None, reorder = None, reorder_correlation = None, gap = None, rate = None, overhead = None, cell_size = None, cell_overhead = None, slot = None, limit = None, seed = None)`

// emulation is the arguments that netem and its update share.
type emulation struct {
	delay, jitter                         notation.Span
	correlation, loss, lossCorrelation    notation.Share
	duplicate, duplicateCorrelation       notation.Share
	corrupt, corruptCorrelation           notation.Share
	reorder, reorderCorrelation           notation.Share
	distribution                          distribution
	model                                 *lossModel
	rate                                  notation.Bandwidth
	slot                                  *slotValue
	gap, overhead, cellSize, cellOverhead notation.Whole
	limit, seed                           notation.Whole
}

// into are the variables to unpack into, in the signature's order.
func (e *emulation) into() []any {
	bound := func(w *notation.Whole, from, to int64, of string) *notation.Whole {
		w.From, w.To, w.Of = from, to, of
		return w
	}
	return []any{
		&e.delay, &e.jitter, &e.correlation, &e.distribution, &e.loss, &e.lossCorrelation, &e.model,
		&e.duplicate, &e.duplicateCorrelation, &e.corrupt, &e.corruptCorrelation, &e.reorder, &e.reorderCorrelation,
		bound(&e.gap, 1, fnetem.MaxLimit, "packets"), &e.rate, bound(&e.overhead, -1500, 1500, "bytes"),
		bound(&e.cellSize, 1, 65535, "bytes"), bound(&e.cellOverhead, -1500, 1500, "bytes"), &e.slot,
		bound(&e.limit, 1, fnetem.MaxLimit, "packets"), bound(&e.seed, 1, math.MaxInt64, ""),
	}
}

func (e *emulation) value() fnetem.Emulation {
	out := fnetem.Emulation{
		Delay: time.Duration(e.delay), Jitter: time.Duration(e.jitter), Correlation: float64(e.correlation),
		Distribution: e.distribution.name, Table: e.distribution.table,
		Loss: float64(e.loss), LossCorrelation: float64(e.lossCorrelation),
		Duplicate: float64(e.duplicate), DuplicateCorrelation: float64(e.duplicateCorrelation),
		Corrupt: float64(e.corrupt), CorruptCorrelation: float64(e.corruptCorrelation),
		Reorder: float64(e.reorder), ReorderCorrelation: float64(e.reorderCorrelation), Gap: int(e.gap.Value),
		Rate: int64(e.rate), Overhead: int(e.overhead.Value), CellSize: int(e.cellSize.Value), CellOverhead: int(e.cellOverhead.Value),
		Limit: int(e.limit.Value), Seed: uint64(e.seed.Value),
	}
	if e.model != nil {
		out.LossModel = &e.model.model
	}
	if e.slot != nil {
		out.Slot = &e.slot.slot
	}
	return out
}

package qdisc

import (
	"fmt"

	"chaosrunner/builtins/fault/netem"
)

// merge is one emulation that does what several do one after the other: delays
// add up, independent losses multiply, and of the rest each may be asked for
// once.
func merge(all []netem.Emulation) (netem.Emulation, error) {
	sum := all[0]
	for _, e := range all[1:] {
		for _, part := range []struct {
			name     string
			old, new bool
			take     func()
		}{
			{"jitter", sum.Jitter > 0, e.Jitter > 0, func() {
				sum.Jitter, sum.Correlation, sum.Distribution, sum.Table = e.Jitter, e.Correlation, e.Distribution, e.Table
			}},
			{"loss", sum.LossModel != nil || sum.LossCorrelation > 0, e.LossModel != nil || e.LossCorrelation > 0, func() {
				sum.LossModel, sum.LossCorrelation = e.LossModel, e.LossCorrelation
			}},
			{"duplicate", sum.Duplicate > 0, e.Duplicate > 0, func() {
				sum.Duplicate, sum.DuplicateCorrelation = e.Duplicate, e.DuplicateCorrelation
			}},
			{"corrupt", sum.Corrupt > 0, e.Corrupt > 0, func() {
				sum.Corrupt, sum.CorruptCorrelation = e.Corrupt, e.CorruptCorrelation
			}},
			{"reorder", sum.Reorder > 0, e.Reorder > 0, func() {
				sum.Reorder, sum.ReorderCorrelation, sum.Gap = e.Reorder, e.ReorderCorrelation, e.Gap
			}},
			{"rate", sum.Rate > 0, e.Rate > 0, func() {
				sum.Rate, sum.Overhead, sum.CellSize, sum.CellOverhead = e.Rate, e.Overhead, e.CellSize, e.CellOverhead
			}},
			{"slot", sum.Slot != nil, e.Slot != nil, func() { sum.Slot = e.Slot }},
			{"limit", sum.Limit > 0, e.Limit > 0, func() { sum.Limit = e.Limit }},
			{"seed", sum.Seed != 0, e.Seed != 0, func() { sum.Seed = e.Seed }},
		} {
			if part.old && part.new {
				return sum, fmt.Errorf("%s: another fault with the same filter has set one, and the engine qdisc does it once: "+
					"undo that one first, or give them disjoint filters", part.name)
			}
			if part.new {
				part.take()
			}
		}
		if (sum.LossModel != nil || sum.LossCorrelation > 0) && sum.Loss > 0 && e.Loss > 0 ||
			sum.LossModel != nil && sum.Loss+e.Loss > 0 {
			return sum, fmt.Errorf("loss: another fault with the same filter has set one, and the engine qdisc adds up only losses " +
				"without model and correlation: undo that one first, or give them disjoint filters")
		}
		sum.Delay += e.Delay
		sum.Loss = 1 - (1-sum.Loss)*(1-e.Loss)
	}
	return sum, nil
}

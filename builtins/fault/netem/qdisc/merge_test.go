//go:build !netem

// It needs no kernel that has netem.

package qdisc

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netem"
)

func TestMerge(t *testing.T) {
	slot := &netem.Slot{Min: time.Millisecond, Max: time.Millisecond}
	ge := &netem.LossModel{GE: &netem.GE{P: 1}}
	for _, c := range []struct {
		all  []netem.Emulation
		want netem.Emulation
	}{
		{[]netem.Emulation{{Delay: 1, Loss: .5}, {Delay: 2, Loss: .5}}, netem.Emulation{Delay: 3, Loss: .75}},
		{[]netem.Emulation{{Delay: 3, Jitter: 2, Correlation: .5, Distribution: "normal"}, {Delay: 1, Reorder: .5, Gap: 3}},
			netem.Emulation{Delay: 4, Jitter: 2, Correlation: .5, Distribution: "normal", Reorder: .5, Gap: 3}},
		{[]netem.Emulation{{Duplicate: .1, DuplicateCorrelation: .2}, {Corrupt: .3, CorruptCorrelation: .4}, {Rate: 8, Overhead: 4, CellSize: 2, CellOverhead: 1}},
			netem.Emulation{Duplicate: .1, DuplicateCorrelation: .2, Corrupt: .3, CorruptCorrelation: .4, Rate: 8, Overhead: 4, CellSize: 2, CellOverhead: 1}},
		{[]netem.Emulation{{Delay: 1, Limit: 9}, {LossModel: ge}, {Slot: slot}}, netem.Emulation{Delay: 1, Limit: 9, LossModel: ge, Slot: slot}},
	} {
		got, err := merge(c.all)
		if got.Loss = math.Round(got.Loss*1e9) / 1e9; err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: got %+v, %v; want %+v", c.all, got, err, c.want)
		}
	}
	for name, twice := range map[string][2]netem.Emulation{
		"jitter":    {{Delay: 2, Jitter: 1}, {Delay: 2, Jitter: 1}},
		"rate":      {{Rate: 8}, {Rate: 16}},
		"loss":      {{LossModel: ge}, {LossModel: ge}},
		"loss:":     {{LossModel: ge}, {Loss: .1}},
		"loss: ":    {{Loss: .1, LossCorrelation: .1}, {Loss: .1}},
		"duplicate": {{Duplicate: .1}, {Duplicate: .1}},
		"corrupt":   {{Corrupt: .1}, {Corrupt: .1}},
		"reorder":   {{Reorder: .1}, {Reorder: .1}},
		"slot":      {{Slot: slot}, {Slot: slot}},
		"limit":     {{Limit: 1}, {Limit: 2}},
		"seed":      {{Seed: 1}, {Seed: 2}},
	} {
		if got, err := merge(twice[:]); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: got %+v, %v; want an error that names it", name, got, err)
		}
	}
}

package netem

import (
	"math"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		e    Emulation
		want string // how the error begins; empty: none
	}{
		{Emulation{Delay: 100 * ms, Jitter: 10 * ms, Correlation: 0.25, Distribution: Pareto}, ""},
		{Emulation{Delay: ms, Jitter: ms, Distribution: OwnTable, Table: []int16{-8192, 8192}}, ""},
		{Emulation{LossModel: &LossModel{GE: &GE{P: 0.01, R: 0.1, OneH: 1}}}, ""},
		{Emulation{LossModel: &LossModel{State: &State{P13: 0.1, P31: 0.5}}}, ""},
		{Emulation{Delay: ms, Reorder: 0.5, ReorderCorrelation: 1, Gap: 5}, ""},
		{Emulation{Rate: 1e6, Overhead: -14, CellSize: 53, CellOverhead: 5}, ""},
		{Emulation{Slot: &Slot{Min: ms, Max: ms, Packets: 3}}, ""},
		{Emulation{}, "got nothing to do"},
		{Emulation{Limit: 7, Seed: 3}, "got nothing to do"},
		{Emulation{Delay: -ms}, "delay: got -1ms"},
		{Emulation{Delay: time.Hour}, "delay: got 1h"},
		{Emulation{Jitter: ms}, "jitter: got 1ms without a delay"},
		{Emulation{Delay: ms, Jitter: -ms}, "jitter: got -1ms"},
		{Emulation{Delay: ms, Jitter: 2 * ms}, "jitter: got 2ms, want at most the delay"},
		{Emulation{Delay: ms, Correlation: 0.5}, "correlation: got one without jitter"},
		{Emulation{Delay: ms, Jitter: ms, Correlation: 1.01}, "correlation: got 101%"},
		{Emulation{Delay: ms, Jitter: ms, Correlation: math.NaN()}, "correlation: got NaN%"},
		{Emulation{Delay: ms, Distribution: Normal}, "distribution: got one without jitter"},
		{Emulation{Delay: ms, Jitter: ms, Distribution: "gauss"}, `distribution: got "gauss", want one of uniform`},
		{Emulation{Delay: ms, Jitter: ms, Distribution: OwnTable, Table: []int16{1}}, "distribution: got a table of 1"},
		{Emulation{Delay: ms, Jitter: ms, Distribution: Normal, Table: []int16{1, 2}}, "distribution: got a table and"},
		{Emulation{Loss: 1.5}, "loss: got 150%"},
		{Emulation{Loss: -0.1}, "loss: got -10%"},
		{Emulation{Loss: math.NaN()}, "loss: got NaN%"},
		{Emulation{Delay: ms, LossCorrelation: 0.1}, "loss_correlation: got one without loss"},
		{Emulation{Corrupt: 0.1, CorruptCorrelation: 2}, "corrupt_correlation: got 200%"},
		{Emulation{Loss: 0.1, LossModel: &LossModel{GE: &GE{P: 0.1}}}, "loss_model: got it and loss"},
		{Emulation{LossModel: &LossModel{}}, "loss_model: got neither"},
		{Emulation{LossModel: &LossModel{GE: &GE{P: 2}}}, "loss_model: p: got 200%"},
		{Emulation{LossModel: &LossModel{State: &State{P13: 0.6, P14: 0.6}}}, "loss_model: got transitions"},
		{Emulation{Reorder: 0.5}, "reorder: got it without a delay"},
		{Emulation{Delay: ms, Gap: 5}, "gap: got one without reorder"},
		{Emulation{Delay: ms, Reorder: 0.1, Gap: -1}, "gap: got -1"},
		{Emulation{Rate: 1}, "rate: got 1 bits"},
		{Emulation{Rate: -8}, "rate: got -8"},
		{Emulation{Rate: math.MaxInt64}, "rate: got 92"},
		{Emulation{Delay: ms, Overhead: 4}, "overhead: got one without a rate"},
		{Emulation{Rate: 1e6, Overhead: 1 << 20}, "overhead: got 1048576"},
		{Emulation{Rate: 1e6, CellOverhead: 3}, "overhead: got one for cells"},
		{Emulation{Delay: ms, Limit: -1}, "limit: got -1"},
		{Emulation{Delay: ms, Limit: 1e9}, "limit: got 1000000000"},
		{Emulation{Slot: &Slot{}}, "slot: got 0s to 0s"},
		{Emulation{Slot: &Slot{Min: 2 * ms, Max: ms}}, "slot: got 2ms to 1ms"},
		{Emulation{Slot: &Slot{Min: ms, Max: ms, Packets: -1}}, "slot: got -1 packets"},
	} {
		err := c.e.Validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: got %v", c.e, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%+v: got %v, want %q", c.e, err, c.want)
		}
	}
}

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		e       Emulation
		holds   int
		warning string
	}{
		{Emulation{Loss: 0.1}, 1000, ""},
		{Emulation{Delay: ms}, 1000, ""},
		{Emulation{Delay: 400 * ms, Jitter: 50 * ms}, 54000, ""},
		{Emulation{Delay: MaxDelay}, 65536, "65536 packets under 1m0s of delay let at most 1092 packets/s"},
		{Emulation{Delay: 3 * time.Second, Limit: 1000}, 1000, "1000 packets under 3s of delay let at most 333 packets/s"},
		{Emulation{Delay: 100 * ms, Rate: 1e9, Limit: 100}, 100, "a rate of 1Gbit under 100ms of delay, which holds 8333"},
		{Emulation{Delay: 100 * ms, Rate: 1e6, Limit: 100}, 100, ""},
	} {
		if got := c.e.Holds(); got != c.holds {
			t.Errorf("%+v: holds %d, want %d", c.e, got, c.holds)
		}
		got := c.e.Warning()
		if (got == "") != (c.warning == "") || !strings.Contains(got, c.warning) {
			t.Errorf("%+v: warns %q, want %q", c.e, got, c.warning)
		}
	}
}

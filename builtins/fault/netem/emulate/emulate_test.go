package emulate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netem"
)

const trials = 20_000

// near says whether k of n is in the 99.999 % interval of a share, as the
// normal law has it; spread is 1 where draws do not depend on each other.
func near(t *testing.T, what string, k, n int, share, spread float64) {
	t.Helper()
	const z = 4.42
	want, off := share*float64(n), z*spread*math.Sqrt(float64(n)*share*(1-share))
	if math.Abs(float64(k)-want) > off {
		t.Errorf("%s: got %d of %d, want %.0f ± %.0f", what, k, n, want, off)
	}
}

// run sends n packets of 1000 bytes, one a millisecond.
func run(e netem.Emulation, n int) []Fate {
	e.Seed = 42
	m := New(e, 0)
	fates := make([]Fate, n)
	for i := range fates {
		fates[i] = m.Decide(time.Duration(i)*time.Millisecond, 1000)
	}
	return fates
}

func count(fates []Fate, is func(Fate) bool) (k int) {
	for _, f := range fates {
		if is(f) {
			k++
		}
	}
	return k
}

func lost(f Fate) bool { return f.N == 0 }

// bursts is the mean length of runs of lost packets.
func bursts(fates []Fate) float64 {
	runs := 0
	for i, f := range fates {
		if lost(f) && (i == 0 || !lost(fates[i-1])) {
			runs++
		}
	}
	return float64(count(fates, lost)) / float64(runs)
}

func within(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > share*math.Abs(want) {
		t.Errorf("%s: got %.4g, want %.4g ± %.3g%%", what, got, want, share*100)
	}
}

func TestShares(t *testing.T) {
	for _, p := range []float64{0, 0.01, 0.1, 0.5, 1} {
		near(t, "loss", count(run(netem.Emulation{Loss: p}, trials), lost), trials, p, 1)
		near(t, "duplicate", count(run(netem.Emulation{Duplicate: p}, trials), func(f Fate) bool { return f.N == 2 }), trials, p, 1)
		near(t, "corrupt", count(run(netem.Emulation{Corrupt: p}, trials), func(f Fate) bool { return f.Copies[0].Corrupted }), trials, p, 1)
		near(t, "reorder", count(run(netem.Emulation{Delay: time.Second, Reorder: p}, trials), func(f Fate) bool { return f.Copies[0].Reordered }), trials, p, 1)
	}
}

// A correlation makes bursts, and leaves the share as it was.
func TestCorrelatedLoss(t *testing.T) {
	const n = 200_000
	free := run(netem.Emulation{Loss: 0.1}, n)
	tied := run(netem.Emulation{Loss: 0.1, LossCorrelation: 0.75}, n)
	near(t, "loss", count(tied, lost), n, 0.1, math.Sqrt((1+0.75)/(1-0.75)))
	if a, b := bursts(free), bursts(tied); b < 1.5*a {
		t.Errorf("bursts: got %.2f packets with a correlation, %.2f without", b, a)
	}
}

func TestGilbertElliott(t *testing.T) {
	const n = 200_000
	fates := run(netem.Emulation{LossModel: &netem.LossModel{GE: &netem.GE{P: 0.02, R: 0.2, OneH: 1}}}, n)
	within(t, "loss", float64(count(fates, lost))/n, 0.02/(0.02+0.2), 0.05)
	within(t, "burst", bursts(fates), 1/0.2, 0.05)

	// Loss in the good state too: 1 % there, 60 % in the bad one.
	fates = run(netem.Emulation{LossModel: &netem.LossModel{GE: &netem.GE{P: 0.05, R: 0.2, OneH: 0.6, OneK: 0.01}}}, n)
	bad := 0.05 / 0.25
	within(t, "loss in both states", float64(count(fates, lost))/n, bad*0.6+(1-bad)*0.01, 0.05)
}

func TestFourStates(t *testing.T) {
	const n = 400_000
	s := netem.State{P13: 0.02, P31: 0.2, P32: 0.1, P23: 0.3, P14: 0.01}
	fates := run(netem.Emulation{LossModel: &netem.LossModel{State: &s}}, n)
	// The stationary distribution of the chain, from its balance equations, with
	// π1 = 1: 4 is entered from 1 only and left at once.
	pi4 := s.P14
	pi3 := s.P13 / s.P31
	pi2 := pi3 * s.P32 / s.P23
	within(t, "loss", float64(count(fates, lost))/n, (pi3+pi4)/(1+pi2+pi3+pi4), 0.05)
	// Runs of loss begin by 1→3, 1→4 and 2→3; those in 3 last 1/(p31+p32).
	in3, alone := s.P13+pi2*s.P23, s.P14
	within(t, "burst", bursts(fates), (in3/(s.P31+s.P32)+alone)/(in3+alone), 0.05)
}

func TestDistributions(t *testing.T) {
	const n = 200_000
	const delay, jitter = 500 * time.Millisecond, 50 * time.Millisecond
	for _, c := range []struct {
		name       string
		table      []int16
		mean, dev  float64 // in jitters
		low, upper float64
	}{
		{"", nil, 0, 1 / math.Sqrt(3), -1, 1},
		{netem.Uniform, nil, 0, 1 / math.Sqrt(3), -1, 1},
		{netem.Normal, nil, 0, 1, -4, 4},
		// E and D of (u^(-1/3) − 1.5)·4/3 cut at 4: u^(-1/3) is cut at 4.5.
		{netem.Pareto, nil, -0.0329, 0.8209, -2. / 3, 4},
		{netem.ParetoNormal, nil, -0.0247, 0.8313, -1.5, 4}, // its deviation by numerical integration
		{netem.OwnTable, []int16{-8192, 8192}, 0, 1, -1, 1},
	} {
		for _, rho := range []float64{0, 0.5} {
			e := netem.Emulation{Delay: delay, Jitter: jitter, Distribution: c.name, Table: c.table, Correlation: rho}
			var x []float64
			for i, f := range run(e, n) {
				sent := time.Duration(i) * time.Millisecond
				x = append(x, float64(f.Copies[0].At-sent-delay)/float64(jitter))
			}
			mean, dev, next := moments(x)
			if math.Abs(mean-c.mean) > 0.02 || math.Abs(dev-c.dev) > 0.03 || slices.Min(x) < c.low-0.01 || slices.Max(x) > c.upper+0.01 {
				t.Errorf("%s ρ=%g: got mean %.4f deviation %.4f in %.2f..%.2f, want %.4f %.4f in %.2f..%.2f",
					c.name, rho, mean, dev, slices.Min(x), slices.Max(x), c.mean, c.dev, c.low, c.upper)
			}
			// A distribution that is not normal keeps a little less of it.
			if next < rho-0.2 || next > rho+0.03 {
				t.Errorf("%s: got a correlation of %.3f, want %g", c.name, next, rho)
			}
		}
	}
}

// moments are the mean, the deviation, and the correlation of neighbours.
func moments(x []float64) (mean, dev, next float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	var square, product float64
	for i, v := range x {
		square += (v - mean) * (v - mean)
		if i > 0 {
			product += (v - mean) * (x[i-1] - mean)
		}
	}
	return mean, math.Sqrt(square / float64(len(x))), product / square
}

func TestDelaysAreNeverNegative(t *testing.T) {
	for i, f := range run(netem.Emulation{Delay: time.Millisecond, Jitter: time.Millisecond, Distribution: netem.Normal}, trials) {
		if sent := time.Duration(i) * time.Millisecond; f.Copies[0].At < sent {
			t.Fatalf("packet %d is let go %v before it was sent", i, sent-f.Copies[0].At)
		}
	}
}

func TestRate(t *testing.T) {
	for _, c := range []struct {
		e    netem.Emulation
		wire int // bytes that 1000 cost
	}{
		{netem.Emulation{Rate: 1e6}, 1000},
		{netem.Emulation{Rate: 1e6, Delay: 100 * time.Millisecond}, 1000},
		{netem.Emulation{Rate: 1e6, Overhead: 40}, 1040},
		{netem.Emulation{Rate: 1e6, Overhead: -1500}, 0},
		{netem.Emulation{Rate: 1e6, CellSize: 48, CellOverhead: 5}, 21 * 53},
	} {
		fates := run(c.e, 1000) // 8 Mbit/s
		last := fates[len(fates)-1].Copies[0].At
		want := time.Duration(1000*c.wire*8)*time.Second/1e6 + c.e.Delay
		if c.wire == 0 {
			want = 999 * time.Millisecond
		}
		within(t, "time to send 1000 packets", last.Seconds(), want.Seconds(), 0.001)
	}
	// A link that was idle has no credit.
	m := New(netem.Emulation{Rate: 1e6}, 0)
	if got := m.Decide(time.Hour, 1000).Copies[0].At; got != time.Hour+8*time.Millisecond {
		t.Errorf("the first packet after an idle hour: got %v, want 8ms after it", got-time.Hour)
	}
}

func TestGap(t *testing.T) {
	for i, f := range run(netem.Emulation{Delay: time.Second, Reorder: 1, Gap: 5}, 100) {
		if want := i%5 == 4; f.Copies[0].Reordered != want {
			t.Fatalf("packet %d: reordered %v, want %v", i, !want, want)
		}
	}
}

func TestSlot(t *testing.T) {
	fates := run(netem.Emulation{Slot: &netem.Slot{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond, Packets: 8}}, 5000)
	in := map[time.Duration]int{}
	var last time.Duration
	for i, f := range fates {
		at := f.Copies[0].At
		if at < time.Duration(i)*time.Millisecond {
			t.Fatalf("packet %d goes before it came", i)
		}
		if at != last && last != 0 && (at-last < 10*time.Millisecond || at-last > 20*time.Millisecond) {
			t.Fatalf("got two slots %v apart, want 10 to 20ms", at-last)
		}
		last = at
		if in[at]++; in[at] > 8 {
			t.Fatalf("got %d packets in one slot, want at most 8", in[at])
		}
	}
	// 8 packets in 15 ms are fewer than came.
	within(t, "time of the last", last.Seconds(), 5000./8*0.015, 0.03)
	big := New(netem.Emulation{Slot: &netem.Slot{Min: time.Millisecond, Max: time.Millisecond, Bytes: 100}}, 0)
	if a, b := big.Decide(0, 1000).Copies[0].At, big.Decide(0, 1000).Copies[0].At; b-a != time.Millisecond {
		t.Errorf("packets larger than a slot: got %v apart, want one a slot", b-a)
	}
}

// A change in the middle keeps the walk of chance, and what the link is sending.
func TestUpdate(t *testing.T) {
	m := New(netem.Emulation{Rate: 8000, Seed: 1}, 0)
	m.Decide(0, 1000) // busy for a second
	m.Update(netem.Emulation{Rate: 8_000_000})
	if got := m.Decide(0, 1000).Copies[0].At; got != 1001*time.Millisecond {
		t.Errorf("after the update: got %v, want 1.001s: the link was busy", got)
	}
	m.Update(netem.Emulation{Loss: 1})
	if f := m.Decide(0, 1000); f.N != 0 {
		t.Errorf("after an update to 100%% loss: got %d copies", f.N)
	}
}

func TestSeed(t *testing.T) {
	e := netem.Emulation{Delay: time.Second, Jitter: time.Second / 2, Distribution: netem.Pareto, Loss: 0.2, Duplicate: 0.1, Corrupt: 0.1}
	if !slices.Equal(run(e, 1000), run(e, 1000)) {
		t.Error("one seed decides in two ways")
	}
	e.Seed = 1
	a, b, same := New(e, 0), New(e, 1), 0
	for range 1000 {
		if a.Decide(0, 1) == b.Decide(0, 1) {
			same++
		}
	}
	if same > 500 {
		t.Errorf("two streams of one seed: %d of 1000 decisions are the same", same)
	}
}

func TestQueue(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var q Queue[int]
	type put struct {
		at time.Duration
		n  int
	}
	var want []put
	for n := range 2000 {
		at := time.Duration(rnd.IntN(50))
		q.Put(at, n)
		want = append(want, put{at, n})
		if rnd.IntN(3) == 0 {
			slices.SortStableFunc(want, func(a, b put) int { return int(a.at - b.at) })
			if at, _ := q.Next(); at != want[0].at {
				t.Fatalf("next: got %v, want %v", at, want[0].at)
			}
			if got := q.Take(); got != want[0].n {
				t.Fatalf("take: got %d, want %d", got, want[0].n)
			}
			want = want[1:]
		}
	}
	if q.Len() != len(want) {
		t.Errorf("got %d left, want %d", q.Len(), len(want))
	}
}

func BenchmarkDecide(b *testing.B) {
	m := New(netem.Emulation{Delay: time.Second, Jitter: time.Millisecond, Distribution: netem.Normal, Loss: 0.01, Rate: 1e9}, 0)
	for i := range b.N {
		m.Decide(time.Duration(i), 1000)
	}
}

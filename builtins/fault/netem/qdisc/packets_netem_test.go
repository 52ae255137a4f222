//go:build netem

package qdisc

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns/scratch"
)

// Real packets are late in the direction that was asked for, on IPv4 and IPv6,
// and are not after the undo.
func TestDelays(t *testing.T) {
	e, a, b := pair(t)
	lines := map[string]*line{"IPv4": echo(t, a, b, scratch.B4, echoPort), "IPv6": echo(t, a, b, scratch.B6, echoPort)}
	for _, d := range []struct {
		direction string
		least     time.Duration
	}{{netem.Out, 200 * ms}, {netem.In, 200 * ms}, {netem.Both, 400 * ms}} {
		h, _ := inject(t, e, a, newJob(netem.Filter{Direction: d.direction}, netem.Emulation{Delay: 200 * ms}))
		for name, l := range lines {
			if took := l.round(); took < d.least {
				t.Errorf("%s, %s: got a round trip of %v, want %v at least", d.direction, name, took, d.least)
			}
		}
		mustUndo(t, h)
		for _, l := range lines {
			l.fast(200 * ms)
		}
	}
}

// What is asked for happens to real packets, in numbers that chance allows.
func TestActs(t *testing.T) {
	e, a, b := pair(t)
	l := echo(t, a, b, scratch.B4, echoPort)
	const n = 600
	for _, c := range []struct {
		name   string
		e      netem.Emulation
		enough int
		ok     func(came []int, distinct int) bool
		want   string
	}{
		{"all lost", netem.Emulation{Loss: 1}, n, func(came []int, _ int) bool { return len(came) == 0 }, "none"},
		{"half lost", netem.Emulation{Loss: .5}, n, func(came []int, _ int) bool { return len(came) > 240 && len(came) < 360 }, "240 to 360"}, // 5 σ
		{"lost in bursts", netem.Emulation{LossModel: &netem.LossModel{GE: &netem.GE{P: .05, R: .05, OneH: 1}}}, n,
			func(came []int, _ int) bool { return len(came) > 60 && longestGap(came) >= 8 }, "some, with a gap of 8 or more"},
		{"twice", netem.Emulation{Duplicate: 1}, 2 * n, func(came []int, distinct int) bool { return len(came) == 2*n && distinct == n }, "each twice"},
		{"corrupt", netem.Emulation{Corrupt: 1}, n, func(came []int, _ int) bool { return len(came) < n/4 }, "few, as their sums are wrong"},
		{"reordered", netem.Emulation{Delay: 50 * ms, Reorder: .5}, n, func(came []int, distinct int) bool {
			return distinct == n && !slices.IsSorted(came)
		}, "all, and not in order"},
		{"limit", netem.Emulation{Delay: 5 * time.Second, Limit: 10}, 10, func(came []int, _ int) bool { return len(came) == 10 }, "those that fit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := inject(t, e, a, newJob(netem.Filter{}, c.e))
			came := l.burst(n, c.enough, 2*time.Second+c.e.Delay)
			distinct := slices.Compact(slices.Sorted(slices.Values(came)))
			s := stats(t, h)
			if !c.ok(came, len(distinct)) {
				t.Errorf("got %d answers (%d distinct) of %d, want %s; %+v", len(came), len(distinct), n, c.want, s)
			}
			if lossy := c.e.Loss > 0 || c.e.LossModel != nil; lossy != (s.Dropped > 0) || (c.e.Limit > 0) != (s.Overflowed > 0) || s.Packets < n {
				t.Errorf("got %+v, want %d packets at least, and what was dropped for the right reason", s, n)
			}
			mustUndo(t, h)
			if came := l.burst(n, n, 2*time.Second); len(came) != n {
				t.Errorf("got %d answers after the undo, want %d", len(came), n)
			}
		})
	}
}

func longestGap(came []int) (longest int) {
	for i := 1; i < len(came); i++ {
		longest = max(longest, came[i]-came[i-1]-1)
	}
	return longest
}

// A narrow rate takes its time.
func TestRate(t *testing.T) {
	e, a, b := pair(t)
	l := echo(t, a, b, scratch.B4, echoPort)
	inject(t, e, a, newJob(netem.Filter{}, netem.Emulation{Rate: 80_000})) // 10 kB a second
	began := time.Now()
	const n, size = 100, 48 // 6 bytes, and the headers: 14 + 20 + 8
	for i := range n {
		l.send(i)
	}
	for range n {
		if _, ok := l.receive(patience); !ok {
			t.Fatal("an answer is missing")
		}
	}
	if took, want := time.Since(began), n*size*time.Second/10_000*9/10; took < want {
		t.Errorf("%d packets took %v, want %v at least", n, took, want)
	}
}

// Jitter is distributed as asked, and after a change nothing is left of the
// table that the kernel does not show.
func TestJitter(t *testing.T) {
	e, a, b := pair(t)
	l := echo(t, a, b, scratch.B4, echoPort)
	late := []int16{16384, 16384} // two jitters, always
	h, _ := inject(t, e, a, newJob(netem.Filter{}, netem.Emulation{Delay: 200 * ms, Jitter: 100 * ms, Distribution: netem.OwnTable, Table: late}))
	for range 8 {
		if took := l.round(); took < 400*ms {
			t.Errorf("got a round trip of %v, want 400ms at least", took)
		}
	}
	must(t, h.Update(context.Background(), netem.Filter{Direction: netem.Out}, netem.Emulation{Delay: 200 * ms, Jitter: 100 * ms}))
	l.fast(350 * ms)
}

// Only packets that the filter means meet it.
func TestFilters(t *testing.T) {
	e, a, b := pair(t)
	four, six := echo(t, a, b, scratch.B4, echoPort), echo(t, a, b, scratch.B6, echoPort)
	other := echo(t, a, b, scratch.B4, echoPort+1)
	port := func(l *line) uint16 { return netip.MustParseAddrPort(l.conn.LocalAddr().String()).Port() }
	prefix := netip.MustParsePrefix
	for _, c := range []struct {
		f    netem.Filter
		want [3]bool // four, six, other
	}{
		{netem.Filter{}, [3]bool{true, true, true}},
		{netem.Filter{Peers: []netip.Prefix{prefix("10.77.0.2/32")}}, [3]bool{true, false, true}},
		{netem.Filter{Peers: []netip.Prefix{prefix("10.76.0.0/16"), prefix("fd77::/16")}}, [3]bool{false, true, false}},
		{netem.Filter{Peers: []netip.Prefix{prefix("10.77.0.0/24"), prefix("fd77::2/128")}}, [3]bool{true, true, true}},
		{netem.Filter{Peers: []netip.Prefix{prefix("fd77::3/128"), prefix("10.77.0.1/32")}}, [3]bool{}},
		{netem.Filter{PeerPort: echoPort}, [3]bool{true, true, false}},
		{netem.Filter{Port: port(other)}, [3]bool{false, false, true}},
		{netem.Filter{Protocol: "udp", PeerPort: echoPort + 1}, [3]bool{false, false, true}},
		{netem.Filter{Protocol: "tcp"}, [3]bool{}},
		{netem.Filter{Protocol: "icmp"}, [3]bool{}},
	} {
		for _, direction := range []string{netem.Out, netem.In} {
			c.f.Direction = direction
			h, _ := inject(t, e, a, newJob(c.f, netem.Emulation{Delay: ms}))
			for i, l := range []*line{four, six, other} {
				met := false
				for range 5 { // the kernel sends packets of its own, now and then
					before := stats(t, h).Packets
					l.round()
					if met = stats(t, h).Packets > before; met == c.want[i] {
						break
					}
				}
				if met != c.want[i] {
					t.Errorf("%s, line %d: met it: %v, want %v", c.f, i, met, c.want[i])
				}
			}
			mustUndo(t, h)
		}
	}
}

// A share of flows has each flow wholly in or out, both ways.
func TestShareOfFlows(t *testing.T) {
	e, a, b := pair(t)
	out, _ := inject(t, e, a, newJob(netem.Filter{Direction: netem.Out, Protocol: "udp", Share: .5}, netem.Emulation{Delay: ms}))
	in, _ := inject(t, e, a, newJob(netem.Filter{Direction: netem.In, Protocol: "udp", Share: .5}, netem.Emulation{Delay: ms}))
	meant := 0
	const flows = 60
	for i := range flows {
		to := scratch.B4
		if i%2 == 0 {
			to = scratch.B6
		}
		l := echo(t, a, b, to, 5000+i)
		o, n := stats(t, out).Packets, stats(t, in).Packets
		for range 3 {
			l.round()
		}
		o, n = stats(t, out).Packets-o, stats(t, in).Packets-n
		if o != n || o != 0 && o != 3 {
			t.Errorf("flow %d: %d of 3 packets are meant going out, %d of 3 coming in", i, o, n)
		}
		if o > 0 {
			meant++
		}
	}
	if meant < 11 || meant > 49 { // 5 σ
		t.Errorf("got %d of %d flows, want about half", meant, flows)
	}
}

// A fault changes while packets flow: none is lost, and none meets no fault.
func TestUpdate(t *testing.T) {
	e, a, b := pair(t)
	l := echo(t, a, b, scratch.B4, echoPort)
	f := netem.Filter{Direction: netem.Both, Protocol: "udp"} // not what the kernel itself sends now and then
	h, _ := inject(t, e, a, newJob(f, netem.Emulation{Delay: 100 * ms, Jitter: 10 * ms, Distribution: netem.Normal}))
	sent := make(chan int)
	stop := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				sent <- n
				return
			case <-time.After(ms):
				_, _ = fmt.Fprintf(l.conn, "%6d", n) // what is lost shows below
			}
		}
	}()
	for _, next := range []netem.Emulation{
		{Delay: 200 * ms},
		{Delay: 100 * ms, Jitter: 20 * ms}, // uniform now: nothing is left of the table
		{Delay: 100 * ms, Reorder: .5, Rate: 1e9},
		{Delay: 300 * ms},
	} {
		must(t, h.Update(context.Background(), f, next))
	}
	stop <- struct{}{}
	n := <-sent
	for range n {
		if _, ok := l.receive(patience); !ok {
			t.Fatal("a packet was lost")
		}
	}
	if met := stats(t, h).Packets; met != uint64(2*n) {
		t.Errorf("%d packets met it, want all %d of both directions", met, 2*n)
	}
	if seen := world(t, a); strings.Count(seen, "delay 300ms") != 2 || strings.Contains(seen, "reorder") || strings.Contains(seen, "rate") {
		t.Errorf("got\n%s\nwant nothing but 300ms, twice", seen)
	}
	if took := l.round(); took < 600*ms {
		t.Errorf("got a round trip of %v, want 600ms at least", took)
	}

	// Its packets change, as when a peer has moved.
	elsewhere := f
	elsewhere.Peers = []netip.Prefix{netip.MustParsePrefix("10.99.0.1/32")}
	must(t, h.Update(context.Background(), elsewhere, netem.Emulation{Delay: 300 * ms}))
	l.fast(300 * ms)
	if err := h.Update(context.Background(), netem.Filter{Direction: netem.In}, netem.Emulation{Delay: ms}); err == nil {
		t.Error("the direction has changed while it was in")
	}
}

// What it holds is let go by an undo, and nothing is lost.
func TestUndoLetsGo(t *testing.T) {
	e, a, b := pair(t)
	l := echo(t, a, b, scratch.B4, echoPort)
	h, _ := inject(t, e, a, newJob(netem.Filter{Direction: netem.Both}, netem.Emulation{Delay: 500 * ms}))
	const n = 100
	for i := range n {
		l.send(i)
	}
	must(t, h.Undo(context.Background()))
	for i := range n {
		if _, ok := l.receive(patience); !ok {
			t.Fatalf("answer %d of %d is missing", i, n)
		}
	}
}

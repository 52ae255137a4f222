package nfqueue

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// thread is how much processor time the fault's thread has used.
func thread(t testing.TB, held netem.Held) (used time.Duration) {
	t.Helper()
	err := held.(*fault).loop.do(func() error {
		var u unix.Rusage
		err := unix.Getrusage(unix.RUSAGE_THREAD, &u)
		used = time.Duration(u.Utime.Nano() + u.Stime.Nano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// BenchmarkDelay is how far a round trip at 200 requests a second is off the
// delay that was asked for, beside the path's own time.
func BenchmarkDelay(b *testing.B) {
	x, y := scratch.Pair(b)
	inX, inY := pipe(b, x, y, false)
	_ = inY.SetDeadline(time.Time{}) // never fails
	go func() {
		buf := make([]byte, 100)
		for {
			if _, err := inY.Read(buf); err != nil {
				return
			}
			_, _ = inY.Write(buf[:4]) // its reader says more
		}
	}()
	trips := func(n int) []time.Duration { // many may be on their way at once
		_ = inX.SetDeadline(time.Now().Add(time.Hour)) // never fails
		began := time.Now()
		sent, took := make([]atomic.Int64, n), make([]time.Duration, n)
		go func() {
			body := make([]byte, 4)
			for i := range n {
				time.Sleep(time.Until(began.Add(time.Duration(i) * 5 * time.Millisecond)))
				binary.BigEndian.PutUint32(body, uint32(i))
				sent[i].Store(int64(time.Since(began)))
				_, _ = inX.Write(body) // the reader says more
			}
		}()
		body := make([]byte, 100)
		for range n {
			if _, err := inX.Read(body); err != nil {
				b.Fatal(err)
			}
			i := binary.BigEndian.Uint32(body)
			took[i] = time.Since(began) - time.Duration(sent[i].Load())
		}
		slices.Sort(took)
		return took
	}
	for _, delay := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(delay.String(), func(b *testing.B) {
			n := 20 * b.N
			bare := trips(n)
			held := apply(b, x, netem.Filter{Direction: netem.Out, Protocol: "udp"}, netem.Emulation{Delay: delay})
			defer undo(b, held)
			began, used := time.Now(), thread(b, held)
			b.ResetTimer()
			took := trips(n)
			b.ReportMetric(100*(thread(b, held)-used).Seconds()/time.Since(began).Seconds(), "%core")
			b.ReportMetric((took[n/2]-delay-bare[n/2]).Seconds()*1000, "ms-off-median")
			b.ReportMetric((took[n*99/100]-delay-bare[n*99/100]).Seconds()*1000, "ms-off-p99")
			b.ReportMetric(bare[n/2].Seconds()*1000, "ms-bare")
		})
	}
}

// BenchmarkPacket is the processor time of one small packet.
func BenchmarkPacket(b *testing.B) {
	x, y := scratch.Pair(b)
	for _, direction := range []string{netem.Out, netem.In} {
		b.Run(direction, func(b *testing.B) {
			from, to := pipe(b, x, y, false)
			defer func() { from.Close(); to.Close() }()
			if direction == netem.In {
				from, to = to, from
			}
			held := apply(b, x, netem.Filter{Direction: direction, Protocol: "udp"}, netem.Emulation{Delay: 10 * time.Millisecond})
			defer undo(b, held)
			go func() {
				buf := make([]byte, 100)
				for {
					if _, err := to.Read(buf); err != nil {
						return
					}
				}
			}()
			n := max(b.N, 20) * 1000
			used := thread(b, held)
			b.ResetTimer()
			for i := range n {
				if _, err := from.Write([]byte("0123456789abcdef")); err != nil {
					b.Fatal(err)
				}
				if i%20 == 19 {
					time.Sleep(200 * time.Microsecond) // some 60,000 a second
				}
			}
			until(b, held, "all let go", func(s netem.Stats) bool { return s.Held == 0 })
			b.StopTimer()
			s := stats(b, held)
			b.ReportMetric(float64((thread(b, held)-used).Microseconds())/float64(s.Packets), "µs/packet")
			b.ReportMetric(float64(s.Overflowed), "overflowed")
		})
	}
}

// BenchmarkIdle is what is left of requests a second, and of bulk, with a
// fault beside the path, and with one in it that does next to nothing.
func BenchmarkIdle(b *testing.B) {
	x, y := scratch.Pair(b)
	faults := []struct {
		name string
		f    netem.Filter
	}{
		{"bare", netem.Filter{}},
		{"beside", netem.Filter{Direction: netem.Both, Peers: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}},
		{"through", netem.Filter{Direction: netem.Both}},
	}
	var bareRequests, bareBulk float64
	for _, f := range faults {
		b.Run(f.name, func(b *testing.B) {
			if f.name != "bare" {
				held := apply(b, x, f.f, netem.Emulation{Loss: 1e-9})
				defer undo(b, held)
			}
			requests := requests(b, x, y, time.Second)
			bulk, _ := stream(b, x, y, scratch.B4.String(), 1<<20, 500*time.Millisecond)
			if f.name == "bare" {
				bareRequests, bareBulk = requests, bulk
			}
			b.ReportMetric(requests, "requests/s")
			b.ReportMetric(requests/bareRequests, "of-bare-requests")
			b.ReportMetric(bulk*8/1e6, "Mbit/s")
			b.ReportMetric(bulk/bareBulk, "of-bare-bulk")
		})
	}
}

// requests is how many requests a second, one after another, a line each way
// over TCP.
func requests(b *testing.B, x, y *netns.Namespace, d time.Duration) float64 {
	b.Helper()
	var l net.Listener
	if err := y.Inside(func() (err error) { l, err = net.Listen("tcp", scratch.B4.String()+":0"); return err }); err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c) // until it is closed
		}
	}()
	var c net.Conn
	if err := x.Inside(func() (err error) { c, err = net.Dial("tcp", l.Addr().String()); return err }); err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r, n, began := bufio.NewReader(c), 0, time.Now()
	for ; time.Since(began) < d; n++ {
		if _, err := c.Write([]byte("GET /\n")); err != nil {
			b.Fatal(err)
		}
		if _, err := r.ReadString('\n'); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(began).Seconds()
}

// BenchmarkApply is the time until a fault acts, in 1 and in 50 namespaces,
// beside a rule that a command makes in each.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 50} {
		var all []*netns.Namespace
		for range n {
			all = append(all, scratch.Namespace(b))
		}
		b.Run(fmt.Sprintf("nfqueue/%d", n), func(b *testing.B) {
			engine, ctx := New(nft.NewTables()), context.Background()
			for range b.N {
				var held []netem.Held
				for i, ns := range all {
					job := netem.Job{ID: fmt.Sprint(i), Filter: netem.Filter{Direction: netem.Out}, Emulation: netem.Emulation{Delay: time.Second}}
					record, err := engine.Prepare(ctx, ns.Fd(), job)
					if err != nil {
						b.Fatal(err)
					}
					h, err := engine.Apply(ctx, ns.Fd(), job, record)
					if err != nil {
						b.Fatal(err)
					}
					held = append(held, h)
				}
				b.StopTimer()
				for _, h := range held {
					undo(b, h)
				}
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("iptables/%d", n), func(b *testing.B) {
			for _, tool := range []string{"nsenter", "iptables"} {
				if _, err := exec.LookPath(tool); err != nil {
					b.Skip(err)
				}
			}
			run := func(ns *netns.Namespace, verb string) {
				path := fmt.Sprintf("--net=/proc/%d/fd/%d", unix.Getpid(), ns.Fd())
				out, err := exec.Command("nsenter", path, "iptables", "-t", "raw", verb, "OUTPUT", "-j", "NFQUEUE", "--queue-num", "1", "--queue-bypass").CombinedOutput()
				if err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
			for range b.N {
				for _, ns := range all {
					run(ns, "-A")
				}
				b.StopTimer()
				for _, ns := range all {
					run(ns, "-D")
				}
				b.StartTimer()
			}
		})
	}
}

package nfqueue

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// apply makes a fault in a namespace, as an agent would.
func apply(t testing.TB, n *netns.Namespace, f netem.Filter, e netem.Emulation) netem.Held {
	t.Helper()
	return applyWith(t, New(nft.NewTables()), n, f, e)
}

func applyWith(t testing.TB, engine *Engine, n *netns.Namespace, f netem.Filter, e netem.Emulation) netem.Held {
	t.Helper()
	if err := f.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	if e.Seed == 0 {
		e.Seed = 42
	}
	ctx := context.Background()
	job := netem.Job{ID: t.Name() + f.String() + time.Now().String(), Filter: f, Emulation: e}
	record, err := engine.Prepare(ctx, n.Fd(), job)
	if err != nil {
		t.Fatal(err)
	}
	held, err := engine.Apply(ctx, n.Fd(), job, record)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { undo(t, held) })
	return held
}

func undo(t testing.TB, held netem.Held) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := held.Undo(ctx); err != nil {
		t.Error(err)
	}
}

func stats(t testing.TB, held netem.Held) netem.Stats {
	t.Helper()
	s, err := held.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// udp is a socket of a namespace that sends to another's.
func udp(t testing.TB, n *netns.Namespace, port int, to netip.Addr, peer int) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := n.Inside(func() (err error) {
		conn, err = net.DialUDP("udp", &net.UDPAddr{Port: port}, &net.UDPAddr{IP: to.AsSlice(), Port: peer})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // UDP
	raw, err := conn.SyscallConn()
	if err == nil {
		err = buffers(raw, 16<<20)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // never fails
	return conn
}

// pipe is two sockets that talk.
func pipe(t testing.TB, a, b *netns.Namespace, v6 bool) (inA, inB *net.UDPConn) {
	t.Helper()
	addrA, addrB := scratch.A4, scratch.B4
	if v6 {
		addrA, addrB = scratch.A6, scratch.B6
	}
	return udp(t, a, 1000, addrB, 2000), udp(t, b, 2000, addrA, 1000)
}

// trip is how long a packet takes.
func trip(t testing.TB, from, to *net.UDPConn) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := from.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

func TestDelay(t *testing.T) {
	a, b := scratch.Pair(t)
	const delay = 40 * time.Millisecond
	for _, c := range []struct {
		direction string
		out, in   bool
	}{{netem.Out, true, false}, {netem.In, false, true}, {netem.Both, true, true}} {
		for _, v6 := range []bool{false, true} {
			inA, inB := pipe(t, a, b, v6)
			held := apply(t, a, netem.Filter{Direction: c.direction, Protocol: "udp"}, netem.Emulation{Delay: delay})
			out, in := trip(t, inA, inB), trip(t, inB, inA)
			if c.out && out < delay || c.in && in < delay {
				t.Errorf("%s, IPv6 %v: a packet took %v out and %v in, want %v where it is delayed", c.direction, v6, out, in, delay)
			}
			want := uint64(1)
			if c.direction == netem.Both {
				want = 2
			}
			if s := stats(t, held); s.Packets != want || s.Delayed != want || s.MeanDelay < delay {
				t.Errorf("got %+v, want %d packets delayed by %v", s, want, delay)
			}
			undo(t, held)
			if names, err := nft.List(a.Fd()); len(names) > 0 || err != nil {
				t.Errorf("left tables %v (%v)", names, err)
			}
			inA.Close()
			inB.Close()
		}
	}
}

package nfqueue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// send sends numbered packets.
func send(t testing.TB, from *net.UDPConn, n, size int) {
	t.Helper()
	body := bytes.Repeat([]byte{'x'}, size)
	for i := range n {
		binary.BigEndian.PutUint32(body, uint32(i))
		if _, err := from.Write(body); err != nil {
			t.Fatal(err)
		}
	}
}

// receive reads n packets, or those that come until there is nothing for a
// while, if more is not to come. It gives back their numbers.
func receive(t testing.TB, in *net.UDPConn, n int) (numbers []uint32) {
	t.Helper()
	body := make([]byte, 64<<10)
	for len(numbers) < n {
		if _, err := in.Read(body); err != nil {
			t.Fatalf("%d of %d packets came: %v", len(numbers), n, err)
		}
		numbers = append(numbers, binary.BigEndian.Uint32(body))
	}
	return numbers
}

// nothing says that no packet waits to be read.
func nothing(t testing.TB, in *net.UDPConn) {
	t.Helper()
	_ = in.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // never fails
	if n, err := in.Read(make([]byte, 64<<10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a packet of %d bytes came (%v), want none", n, err)
	}
	_ = in.SetReadDeadline(time.Now().Add(time.Minute)) // never fails
}

// until waits for what the counts say.
func until(t testing.TB, held netem.Held, what string, is func(netem.Stats) bool) {
	t.Helper()
	var s netem.Stats
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if s = stats(t, held); is(s) {
			return
		}
	}
	t.Fatalf("want %s, got %+v", what, s)
}

func inOrder(numbers []uint32) bool {
	for i, n := range numbers {
		if n != uint32(i) {
			return false
		}
	}
	return true
}

// A way is one direction over one version of IP, as the target sees it.
type way struct {
	direction string
	target    *netns.Namespace
	from, to  *net.UDPConn
	apply     func(netem.Emulation) netem.Held
}

// each runs a test each way.
func each(t *testing.T, test func(*testing.T, way)) {
	for _, direction := range []string{netem.Out, netem.In} {
		for _, v6 := range []bool{false, true} {
			name := direction + map[bool]string{true: "/IPv6", false: "/IPv4"}[v6]
			t.Run(name, func(t *testing.T) {
				a, b := scratch.Pair(t)
				w := way{direction: direction, target: a}
				if w.from, w.to = pipe(t, a, b, v6); direction == netem.In {
					w.from, w.to = w.to, w.from
				}
				w.apply = func(e netem.Emulation) netem.Held {
					return apply(t, a, netem.Filter{Direction: direction, Protocol: "udp"}, e)
				}
				test(t, w)
			})
		}
	}
}

func TestUndoLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		const n = 3000
		held := apply(netem.Emulation{Delay: time.Minute})
		send(t, from, n, 100)
		until(t, held, "all held", func(s netem.Stats) bool { return s.Held == n })
		nothing(t, to)
		undo(t, held)
		if got := receive(t, to, n); !inOrder(got) {
			t.Error("what was held came out of order")
		}
		nothing(t, to)
		if s := stats(t, held); s.Packets != n || s.Delayed != n || s.Held != 0 {
			t.Errorf("got %+v, want %d packets let go", s, n)
		}
		undo(t, held) // is idempotent
		send(t, from, 1, 100)
		receive(t, to, 1)
	})
}

// Traffic that goes on during the undo loses nothing either.
func TestUndoUnderTraffic(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		const n = 20_000
		held := apply(netem.Emulation{Delay: 5 * time.Millisecond})
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range n {
				if _, err := from.Write([]byte("1234")); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					time.Sleep(100 * time.Microsecond)
				}
			}
		}()
		until(t, held, "traffic", func(s netem.Stats) bool { return s.Packets > n/10 })
		undo(t, held)
		<-sent
		receive(t, to, n)
	})
}

func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		held := apply(netem.Emulation{Delay: 20 * time.Millisecond})
		send(t, from, 1000, 100)
		if got := receive(t, to, 1000); !inOrder(got) {
			t.Error("packets with one delay came out of order")
		}
		undo(t, held)
		apply(netem.Emulation{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond})
		send(t, from, 1000, 100)
		if got := receive(t, to, 1000); inOrder(got) {
			t.Error("packets with a jitter came in order")
		}
	})
}

func TestLoss(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		const n = 5000
		held := apply(netem.Emulation{Loss: 0.1})
		for range n / 500 { // fewer at a time than a socket has room for
			before := stats(t, held).Packets
			send(t, from, 500, 100)
			until(t, held, "500 packets more", func(s netem.Stats) bool { return s.Packets == before+500 })
		}
		s := stats(t, held)
		if s.Overflowed > 0 || s.Dropped < n*0.1-100 || s.Dropped > n*0.1+100 {
			t.Errorf("got %+v, want about %d dropped", s, n/10)
		}
		receive(t, to, n-int(s.Dropped))
		nothing(t, to)
	})
}

func TestDuplicate(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		held := apply(netem.Emulation{Duplicate: 1})
		send(t, from, 100, 500)
		times := map[uint32]int{}
		for _, n := range receive(t, to, 200) {
			times[n]++
		}
		for n := range uint32(100) {
			if times[n] != 2 {
				t.Errorf("packet %d came %d times, want 2", n, times[n])
			}
		}
		nothing(t, to)
		if s := stats(t, held); s.Duplicated != 100 || s.Packets != 100 {
			t.Errorf("got %+v, want 100 packets duplicated", s)
		}
	})
}

// A corrupted packet has one wrong bit, so that checksums find it; without a
// checksum the program gets it.
func TestCorrupt(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		held := apply(netem.Emulation{Corrupt: 1})
		send(t, from, 100, 1000)
		until(t, held, "100 corrupted", func(s netem.Stats) bool { return s.Corrupted == 100 && s.Held == 0 })
		nothing(t, to)
		raw, err := from.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		v6 := from.LocalAddr().(*net.UDPAddr).IP.To4() == nil
		if v6 {
			return // IPv6 has no UDP without checksum
		}
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte{'x'}, 1000)
		for range 20 {
			if _, err := from.Write(want); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, 2000)
		n, err := to.Read(got) // not all: some bits are a port's
		if err != nil || n != len(want) {
			t.Fatalf("got %d bytes (%v), want %d", n, err, len(want))
		}
		wrong := 0
		for i := range want {
			wrong += bits.OnesCount8(got[i] ^ want[i])
		}
		if wrong != 1 {
			t.Errorf("got %d wrong bits, want 1", wrong)
		}
	})
}

func TestLimit(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		held := apply(netem.Emulation{Delay: time.Minute, Limit: 10})
		send(t, from, 2000, 100)
		until(t, held, "10 of 2000 held, and the rest counted", func(s netem.Stats) bool {
			return s.Packets == 2000 && s.Held == 10 && s.Overflowed == 1990
		})
		undo(t, held)
		receive(t, to, 10)
		nothing(t, to)
	})
}

// The link takes 8 ms for each packet.
func TestRate(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		apply(netem.Emulation{Rate: 1_000_000})
		began := time.Now()
		send(t, from, 30, 1000)
		receive(t, to, 30)
		if took := time.Since(began); took < 30*8*time.Millisecond {
			t.Errorf("240 kbit took %v at 1 Mbit/s", took)
		}
	})
}

// Datagrams that a raw socket could not send, larger than the interface takes.
func TestLargeDatagrams(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		const delay = 20 * time.Millisecond
		held := apply(netem.Emulation{Delay: delay})
		began := time.Now()
		send(t, from, 5, 20_000)
		if got := receive(t, to, 5); !inOrder(got) {
			t.Error("they came out of order")
		}
		if took := time.Since(began); took < delay {
			t.Errorf("they took %v, want %v", took, delay)
		}
		until(t, held, "none held", func(s netem.Stats) bool { return s.Held == 0 && s.Packets >= 5 })
	})
}

// While a fault is changed, again and again, no packet slips through.
func TestUpdateHasNoGap(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		apply, from, to := w.apply, w.from, w.to
		const least = 20 * time.Millisecond
		held := apply(netem.Emulation{Delay: least})
		filter := held.(*fault).filter
		stop := make(chan struct{})
		changed := make(chan int)
		go func() {
			changes := 0
			for {
				select {
				case <-stop:
					changed <- changes
					return
				default:
				}
				e := netem.Emulation{Delay: least + time.Duration(changes%7)*time.Millisecond}
				if changes%2 == 1 {
					e.Duplicate = 0.001 // the queue is configured anew too
				}
				if err := held.Update(context.Background(), filter, e); err != nil {
					t.Error(err)
				}
				changes++
			}
		}()
		for range 60 {
			if took := trip(t, from, to); took < least {
				t.Errorf("a packet took %v, want at least %v", took, least)
			}
		}
		close(stop)
		if n := <-changed; n < 5 {
			t.Errorf("got %d changes only", n)
		}
	})
}

// What an update changes: the direction, and what is held keeps its time.
func TestUpdateDirection(t *testing.T) {
	a, b := scratch.Pair(t)
	inA, inB := pipe(t, a, b, false)
	held := apply(t, a, netem.Filter{Direction: netem.Out, Protocol: "udp"}, netem.Emulation{Delay: time.Minute})
	send(t, inA, 5, 100)
	until(t, held, "5 held", func(s netem.Stats) bool { return s.Held == 5 })
	if err := held.Update(context.Background(), netem.Filter{Direction: netem.In, Protocol: "udp"}, netem.Emulation{Delay: time.Second}); err != nil {
		t.Fatal(err)
	}
	trip(t, inA, inB) // is free, and overtakes
	if took := trip(t, inB, inA); took < time.Second {
		t.Errorf("got %v for what comes in after the update, want 1s", took)
	}
	if s := stats(t, held); s.Held != 5 {
		t.Errorf("got %+v, want the 5 still held", s)
	}
	undo(t, held)
	receive(t, inB, 5)
	if err := held.Update(context.Background(), netem.Filter{Direction: netem.In}, netem.Emulation{Delay: time.Second}); err == nil {
		t.Error("a fault that has ended can be updated")
	}
}

// Faults with one filter add up, and each is undone by itself: the packets
// that the others hold are not lost with it.
func TestCompose(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		a, from, to := w.target, w.from, w.to
		filter := netem.Filter{Direction: w.direction, Protocol: "udp"}
		engine := New(nft.NewTables())
		first := applyWith(t, engine, a, filter, netem.Emulation{Delay: 20 * time.Millisecond})
		second := applyWith(t, engine, a, filter, netem.Emulation{Delay: 30 * time.Millisecond})
		if took := trip(t, from, to); took < 50*time.Millisecond {
			t.Errorf("two faults: %v, want 50ms", took)
		}
		for name, held := range map[string]netem.Held{"first": first, "second": second} {
			if s := stats(t, held); s.Packets != 1 {
				t.Errorf("the %s has met %d packets, want 1", name, s.Packets)
			}
		}
		third := applyWith(t, engine, a, filter, netem.Emulation{Delay: time.Minute})
		send(t, from, 100, 100)
		until(t, third, "100 held", func(s netem.Stats) bool { return s.Held == 100 })
		undo(t, first)
		undo(t, second)
		if s := stats(t, third); s.Held != 100 {
			t.Errorf("got %+v after the undo of others, want 100 held", s)
		}
		undo(t, third)
		if got := receive(t, to, 100); !inOrder(got) {
			t.Error("they came out of order")
		}
		if names, err := nft.List(a.Fd()); len(names) > 0 || err != nil {
			t.Errorf("left %v (%v)", names, err)
		}
	})
}

// What a program hands to the kernel as one, to be cut into packets later, is
// as many packets to the emulation.
func TestSegmentsAreSinglePackets(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		const segments, size = 8, 1000
		held := w.apply(netem.Emulation{Delay: time.Millisecond, Loss: 1e-9})
		raw, err := w.from.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) })
		if err != nil {
			t.Fatal(err)
		}
		send(t, w.from, 1, segments*size)
		buf := make([]byte, 64<<10)
		for i := range segments {
			if n, err := w.to.Read(buf); n != size || err != nil {
				t.Fatalf("segment %d: got %d bytes (%v), want %d", i, n, err, size)
			}
		}
		if s := stats(t, held); s.Packets != segments {
			t.Errorf("got %+v, want %d packets", s, segments)
		}
	})
}

// The limit bounds memory, so packets that wait as one count as many.
func TestLargePacketsCountAsMany(t *testing.T) {
	a, b := scratch.Pair(t)
	_, inB := pipe(t, a, b, false)
	// A short delay has the least limit, of 1000.
	held := apply(t, a, netem.Filter{Direction: netem.In, Protocol: "udp"}, netem.Emulation{Delay: 10 * time.Millisecond})
	raw, err := inB.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, 1000) })
	if err != nil {
		t.Fatal(err)
	}
	loop := held.(*fault).loop
	err = loop.do(func() error { // while it is here, it reads nothing: all come at once
		for range 300 {
			if _, err := inB.Write(make([]byte, 60_000)); err != nil { // weighs 40
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, held, "300 packets", func(s netem.Stats) bool { return s.Packets == 300 && s.Held == 0 })
	if s := stats(t, held); s.Overflowed == 0 || s.Delayed+s.Overflowed != 300 {
		t.Errorf("got %+v, want room for 1000/40 packets at once", s)
	}
}

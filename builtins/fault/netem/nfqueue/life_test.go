package nfqueue

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// TestMain also plays the process that dies while it holds a fault.
func TestMain(m *testing.M) {
	if os.Getenv("NFQUEUE_HOLDER") == "" {
		os.Exit(m.Run())
	}
	job := netem.Job{ID: "held", Filter: netem.Filter{Direction: netem.Both}, Emulation: netem.Emulation{Delay: time.Minute}}
	engine := New(nft.NewTables())
	record, err := engine.Prepare(context.Background(), 3, job)
	if err == nil {
		_, err = engine.Apply(context.Background(), 3, job, record)
	}
	fmt.Println(err, string(record))
	select {}
}

// queues are the lines of the kernel's table of queues.
func queues(t testing.TB, n *netns.Namespace) string {
	t.Helper()
	var text []byte
	err := n.Inside(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAKilledHolderLetsTrafficFlow(t *testing.T) {
	a, b := scratch.Pair(t)
	inA, inB := pipe(t, a, b, false)
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "NFQUEUE_HOLDER=1")
	holder.ExtraFiles = []*os.File{a.File()}
	holder.Stderr = os.Stderr
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }() // killed
	line, err := bufio.NewReader(out).ReadString('\n')
	said, record, _ := strings.Cut(strings.TrimSpace(line), " ")
	if said != "<nil>" {
		t.Fatalf("the holder says %q (%v)", line, err)
	}
	if queues(t, a) == "" {
		t.Fatal("there is no queue")
	}
	send(t, inA, 3, 100)
	send(t, inB, 3, 100)
	nothing(t, inA)
	nothing(t, inB)
	engine := New(nft.NewTables())
	if err := engine.Undo(context.Background(), a.Fd(), json.RawMessage(record)); err == nil {
		t.Error("a fault that a live process holds can be taken from it")
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // killed
	if names, err := nft.List(a.Fd()); len(names) != 0 || err != nil {
		t.Errorf("it has left %v (%v)", names, err)
	}
	if left := queues(t, a); left != "" {
		t.Errorf("it has left a queue: %s", left)
	}
	trip(t, inA, inB)
	trip(t, inB, inA)
	for range 2 {
		if err := engine.Undo(context.Background(), a.Fd(), json.RawMessage(record)); err != nil {
			t.Errorf("undo of what is gone: %v", err)
		}
	}
}

// Undo by the record, in the process that applied.
func TestUndoByRecord(t *testing.T) {
	a, b := scratch.Pair(t)
	inA, inB := pipe(t, a, b, false)
	engine, ctx := New(nft.NewTables()), context.Background()
	job := netem.Job{ID: "x", Filter: netem.Filter{Direction: netem.Out}, Emulation: netem.Emulation{Delay: time.Minute}}
	record, err := engine.Prepare(ctx, a.Fd(), job)
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Undo(ctx, a.Fd(), record); err != nil {
		t.Errorf("undo of what was never applied: %v", err)
	}
	held, err := engine.Apply(ctx, a.Fd(), job, record)
	if err != nil {
		t.Fatal(err)
	}
	send(t, inA, 1, 100)
	until(t, held, "one held", func(s netem.Stats) bool { return s.Held == 1 })
	for range 2 {
		if err := engine.Undo(ctx, a.Fd(), record); err != nil {
			t.Error(err)
		}
	}
	receive(t, inB, 1)
	if _, open := <-held.Lost(); open {
		t.Error("a fault that was undone calls itself lost")
	}
	if err := engine.Undo(ctx, a.Fd(), json.RawMessage("{")); err == nil {
		t.Error("half a record is taken for one")
	}
	if err := engine.Undo(ctx, a.Fd(), json.RawMessage(`{"table":"filter"}`)); err == nil {
		t.Error("a record that names a foreign table is obeyed")
	}
}

// A queue that fails is told, and traffic flows.
func TestLost(t *testing.T) {
	a, b := scratch.Pair(t)
	inA, inB := pipe(t, a, b, false)
	acting := apply(t, a, netem.Filter{}, netem.Emulation{Delay: time.Minute})
	send(t, inA, 1, 100)
	until(t, acting, "one held", func(s netem.Stats) bool { return s.Held == 1 })
	loop := acting.(*fault).loop
	err := loop.do(func() error { // what it listens at is none of the kernel's queues
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Dup3(fd, loop.shapers[0].q.fd, unix.O_CLOEXEC)
			_ = unix.Close(fd) // nothing was written to it
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = loop.do(func() error { loop.shapers[0].held.Put(0, held{kept: true}); return nil }) // the select says more
	select {
	case err := <-acting.Lost():
		if err == nil || !strings.HasPrefix(err.Error(), "nfqueue: ") {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was told")
	}
	trip(t, inA, inB)
	if s := stats(t, acting); s.Packets != 1 {
		t.Errorf("got %+v of a fault that is lost, want 1 packet", s)
	}
	undo(t, acting)
	if names, err := nft.List(a.Fd()); len(names) != 0 || err != nil {
		t.Errorf("left %v (%v)", names, err)
	}
}

// One connection is wholly in, or wholly out, in both directions.
func TestShareOfFlows(t *testing.T) {
	a, b := scratch.Pair(t)
	const flows, share = 400, 0.25
	filter := netem.Filter{Direction: netem.Both, Protocol: "udp", Share: share}
	held := apply(t, a, filter, netem.Emulation{Delay: 10 * time.Second})
	in := 0
	for i := range flows {
		inA := udp(t, a, 3000+i, scratch.B4, 5000)
		inB := udp(t, b, 5000, scratch.A4, 3000+i)
		before := stats(t, held).Held
		send(t, inA, 1, 100)
		send(t, inB, 1, 100)
		send(t, inA, 1, 100)
		var now, came int
		until(t, held, "none or all three held", func(s netem.Stats) bool {
			now = s.Held - before
			for _, c := range []*net.UDPConn{inA, inB} {
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) // never fails
				for {
					if _, err := c.Read(make([]byte, 100)); err != nil {
						break
					}
					came++
				}
			}
			return now == 3 || now == 0 && came == 3
		})
		if now == 3 {
			in++
		}
		inA.Close()
		inB.Close()
	}
	if off := math.Abs(float64(in) - flows*share); off > 4.42*math.Sqrt(flows*share*(1-share)) {
		t.Errorf("got %d of %d flows, want about %.0f", in, flows, flows*share)
	}
}

// What TCP carries comes through as it was, whatever happens to its packets.
func TestTCPIntegrity(t *testing.T) {
	a, b := scratch.Pair(t)
	for name, e := range map[string]netem.Emulation{
		"delay": {Delay: 2 * time.Millisecond},
		"worst": {
			Delay: 2 * time.Millisecond, Jitter: time.Millisecond, Distribution: netem.Normal,
			Loss: 0.005, Duplicate: 0.01, Corrupt: 0.005, Reorder: 0.01,
		},
	} {
		for _, addr := range []string{scratch.B4.String(), "[" + scratch.B6.String() + "]"} {
			t.Run(name+"/"+addr, func(t *testing.T) {
				size := 8 << 20
				if name == "worst" {
					size = 1 << 20
				}
				held := apply(t, a, netem.Filter{Direction: netem.Both}, e)
				body := make([]byte, size)
				_, _ = rand.NewChaCha8([32]byte{}).Read(body) // never fails
				if got := echo(t, a, b, addr, body); got != sha256.Sum256(body) {
					t.Error("what comes back is not what was sent")
				}
				t.Logf("%+v", stats(t, held))
				undo(t, held)
			})
		}
	}
}

// echo sends to the other side and back.
func echo(t *testing.T, a, b *netns.Namespace, addr string, body []byte) [sha256.Size]byte {
	t.Helper()
	return echoAt(t, a, b, addr, addr, body)
}

// echoAt does so where the other side has one more name.
func echoAt(t *testing.T, a, b *netns.Namespace, addr, name string, body []byte) [sha256.Size]byte {
	t.Helper()
	var l net.Listener
	if err := b.Inside(func() (err error) { l, err = net.Listen("tcp", addr+":0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c) // the other end sees what came
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}()
	var c net.Conn
	if err := a.Inside(func() (err error) { c, err = net.Dial("tcp", name+port(l)); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute)) // never fails
	go func() {
		_, _ = c.Write(body) // the other end sees what came
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	sum := sha256.New()
	if n, err := io.Copy(sum, c); err != nil || n != int64(len(body)) {
		t.Fatalf("%d of %d bytes came back: %v", n, len(body), err)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// A TCP sender is not held back by packets that wait: its window opens as it
// would over a long wire. Were they kept in the kernel, two or three would be
// on their way at once.
func TestOutgoingTCPDoesNotCollapse(t *testing.T) {
	a, b := scratch.Pair(t)
	held := apply(t, a, netem.Filter{Direction: netem.Out, Protocol: "tcp"}, netem.Emulation{Delay: 300 * time.Millisecond})
	var l net.Listener
	if err := b.Inside(func() (err error) { l, err = net.Listen("tcp", scratch.B4.String()+":0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c) // until it is closed
		}
	}()
	var c net.Conn
	if err := a.Inside(func() (err error) { c, err = net.Dial("tcp", l.Addr().String()); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	until(t, held, "100 segments on their way at once", func(s netem.Stats) bool { return s.Held > 100 })
	if s := stats(t, held); s.Overflowed > 0 {
		t.Errorf("got %+v, want no overflow", s)
	}
}

func port(l net.Listener) string { return fmt.Sprintf(":%d", l.Addr().(*net.TCPAddr).Port) }

// An interface that goes takes the packets with it that wait for it, as when
// a container stops; the fault can be changed and undone all the same.
func TestInterfaceGoes(t *testing.T) {
	a, b := scratch.Pair(t)
	inA, inB := pipe(t, a, b, false)
	filter := netem.Filter{Direction: netem.Both, Protocol: "udp"}
	acting := apply(t, a, filter, netem.Emulation{Delay: time.Second})
	send(t, inA, 10, 100)
	send(t, inB, 10, 100)
	until(t, acting, "20 held", func(s netem.Stats) bool { return s.Held == 20 })
	err := a.Inside(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, acting, "none held", func(s netem.Stats) bool { return s.Held == 0 })
	if err := acting.Update(context.Background(), filter, netem.Emulation{Delay: time.Second, Duplicate: 0.5}); err != nil {
		t.Error(err)
	}
	select {
	case err := <-acting.Lost():
		t.Errorf("the fault is lost: %v", err)
	default:
	}
	undo(t, acting)
}

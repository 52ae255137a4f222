//go:build netem

package qdisc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// world is what iproute2 sees of a namespace: other eyes than ours.
func world(t testing.TB, ns *netns.Namespace) string {
	t.Helper()
	seen := run(t, ns, "tc", "qdisc", "show")
	must(t, ns.Inside(func() error {
		links, err := net.Interfaces()
		for _, l := range links {
			seen += fmt.Sprintln(l.Index, l.Name, l.Flags)
		}
		return err
	}))
	return seen
}

func run(t testing.TB, ns *netns.Namespace, name string, args ...string) string {
	t.Helper()
	var out []byte
	err := ns.Inside(func() (err error) {
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var names int

func newJob(f netem.Filter, e netem.Emulation) netem.Job {
	names++
	if f.Direction == "" {
		f.Direction = netem.Out
	}
	return netem.Job{ID: fmt.Sprint("job", names), Filter: f, Emulation: e}
}

// inject puts a job in, and out again when the test ends.
func inject(t testing.TB, e *Engine, ns *netns.Namespace, job netem.Job) (*held, json.RawMessage) {
	t.Helper()
	record, err := e.Prepare(context.Background(), ns.Fd(), job)
	if err != nil {
		t.Fatal(err)
	}
	h, err := e.Apply(context.Background(), ns.Fd(), job, record)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustUndo(t, h) })
	return h.(*held), record
}

func mustUndo(t testing.TB, h netem.Held) {
	t.Helper()
	if err := h.Undo(context.Background()); err != nil {
		t.Error(err)
	}
}

func pair(t testing.TB) (e *Engine, a, b *netns.Namespace) {
	t.Helper()
	a, b = scratch.Pair(t)
	e = New()
	if err := e.Available(a.Fd()); err != nil {
		t.Fatal(err)
	}
	return e, a, b
}

// An echo answers datagrams in b that a line in a sends.
type line struct {
	t    testing.TB
	conn *net.UDPConn
	sent int // by bursts
}

const echoPort = 4000

// echo answers on a port of b's, and returns a line to it from a.
func echo(t testing.TB, a, b *netns.Namespace, to netip.Addr, port int) *line {
	t.Helper()
	l := &line{t: t}
	var server *net.UDPConn
	must(t, b.Inside(func() (err error) {
		server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, uint16(port))))
		return err
	}))
	must(t, roomy(server))
	must(t, a.Inside(func() (err error) {
		l.conn, err = net.DialUDP("udp", nil, server.LocalAddr().(*net.UDPAddr))
		return err
	}))
	must(t, roomy(l.conn))
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := server.ReadFromUDP(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDP(buf[:n], from) // what is lost shows at the other end
		}
	}()
	t.Cleanup(func() { must(t, errors.Join(server.Close(), l.conn.Close())) })
	return l
}

// roomy lets a socket hold whole bursts: what is missing was lost on the way.
func roomy(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	})
	return errors.Join(err, failed)
}

func (l *line) send(n int) {
	l.t.Helper()
	if _, err := fmt.Fprintf(l.conn, "%6d", n); err != nil {
		l.t.Fatal(err)
	}
}

// receive waits for one answer; ok is false if none comes for so long.
func (l *line) receive(patience time.Duration) (text string, ok bool) {
	l.t.Helper()
	must(l.t, l.conn.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 2000)
	n, err := l.conn.Read(buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Fatal(err)
	}
	return string(buf[:n]), err == nil
}

const patience = 30 * time.Second

// round is the time of one round trip.
func (l *line) round() time.Duration {
	l.t.Helper()
	began := time.Now()
	l.send(0)
	if _, ok := l.receive(patience); !ok {
		l.t.Fatal("no answer")
	}
	return time.Since(began)
}

// fast waits for a round trip that is shorter.
func (l *line) fast(than time.Duration) {
	l.t.Helper()
	for end := time.Now().Add(patience); l.round() >= than; {
		if time.Now().After(end) {
			l.t.Fatalf("no round trip takes less than %v", than)
		}
	}
}

// burst sends n datagrams, not too fast for anyone, and returns the numbers of
// those that came back: all until enough have, or none comes any more.
func (l *line) burst(n, enough int, quiet time.Duration) (numbers []int) {
	l.t.Helper()
	first := l.sent
	l.sent += n
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			_, _ = fmt.Fprintf(l.conn, "%6d", first+i) // what is lost shows at the other end
			if i%20 == 19 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	defer func() { <-sent }()
	for len(numbers) < enough {
		text, ok := l.receive(quiet)
		var number int
		_, err := fmt.Sscan(text, &number)
		switch {
		case !ok && closed(sent):
			return numbers
		case ok && err == nil && number >= first && number < first+n: // not an earlier burst's
			numbers = append(numbers, number)
		}
	}
	return numbers
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func stats(t testing.TB, h netem.Held) netem.Stats {
	t.Helper()
	s, err := h.Stats()
	must(t, err)
	return s
}

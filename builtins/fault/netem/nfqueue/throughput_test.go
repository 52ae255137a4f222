package nfqueue

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// BenchmarkStream is one TCP stream under a delay, beside what its window and
// the round trip allow.
func BenchmarkStream(b *testing.B) {
	const window = 256 << 10
	x, y := scratch.Pair(b)
	for _, direction := range []string{netem.Out, netem.In} {
		for _, delay := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
			b.Run(fmt.Sprintf("%s/%v", direction, delay), func(b *testing.B) {
				if delay > 0 {
					held := apply(b, x, netem.Filter{Direction: direction}, netem.Emulation{Delay: delay})
					defer undo(b, held)
				}
				from, to, addr := x, y, scratch.B4.String()
				if direction == netem.In {
					from, to, addr = y, x, scratch.A4.String()
				}
				began := cpu()
				rate := stream(b, from, to, addr, window, time.Second)
				b.ReportMetric(rate*8/1e6, "Mbit/s")
				b.ReportMetric(cpu()-began, "cores")
				if delay > 0 {
					b.ReportMetric(rate/(window/delay.Seconds()), "of-window/RTT")
				}
			})
		}
	}
}

// cpu is how many seconds of it this process has used.
func cpu() float64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // never fails
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// stream sends over TCP for a while, and says how many bytes a second came in
// the second half.
func stream(t testing.TB, from, to *netns.Namespace, addr string, window int, d time.Duration) float64 {
	t.Helper()
	var l net.Listener
	err := to.Inside(func() (err error) {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return buffers(c, window) }}
		l, err = lc.Listen(t.Context(), "tcp", addr+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out net.Conn
	err = from.Inside(func() (err error) {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return buffers(c, 4*window) }}
		out, err = d.Dial("tcp", l.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 256<<10)
		for {
			if _, err := out.Write(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 256<<10)
	n, half, began := 0, time.Time{}, time.Now()
	for time.Since(began) < 2*d {
		got, err := in.Read(buf)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if half.IsZero() {
			if time.Since(began) > d {
				half = time.Now()
			}
			continue
		}
		n += got
	}
	rate := float64(n) / time.Since(half).Seconds()
	out.Close()
	in.Close()
	return rate
}

func buffers(c syscall.RawConn, size int) (err error) {
	if ctl := c.Control(func(fd uintptr) {
		for _, name := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, name, size)
			}
		}
	}); ctl != nil {
		return ctl
	}
	return err
}

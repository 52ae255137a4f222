package nfqueue

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// BenchmarkStream is one TCP stream under a delay, beside what the window that
// its receiver opens and the round trip allow.
func BenchmarkStream(b *testing.B) {
	x, y := scratch.Pair(b)
	for _, direction := range []string{netem.Out, netem.In} {
		for _, c := range []struct {
			delay  time.Duration
			buffer int // of the receiver: half a gigabit a second
		}{{0, 1 << 20}, {time.Millisecond, 64 << 10}, {20 * time.Millisecond, 1 << 20}, {100 * time.Millisecond, 5 << 20}} {
			b.Run(fmt.Sprintf("%s/%v", direction, c.delay), func(b *testing.B) {
				if c.delay > 0 {
					held := apply(b, x, netem.Filter{Direction: direction}, netem.Emulation{Delay: c.delay})
					defer undo(b, held)
				}
				from, to, addr := x, y, scratch.B4.String()
				if direction == netem.In {
					from, to, addr = y, x, scratch.A4.String()
				}
				began, used := time.Now(), cpu()
				rate, allowed := stream(b, from, to, addr, c.buffer, time.Second+20*c.delay)
				b.ReportMetric((cpu()-used)/time.Since(began).Seconds(), "cores")
				b.ReportMetric(rate*8/1e6, "Mbit/s")
				if c.delay > 0 {
					b.ReportMetric(rate/allowed, "of-allowed")
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

// stream sends over TCP, and says how many bytes a second came once it had had
// a while to speed up, and how many its receiver's window and the shortest
// round trip allow.
func stream(t testing.TB, from, to *netns.Namespace, addr string, buffer int, while time.Duration) (rate, allowed float64) {
	t.Helper()
	var l net.Listener
	err := to.Inside(func() (err error) {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return buffers(c, buffer) }}
		l, err = lc.Listen(t.Context(), "tcp", addr+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out net.Conn
	err = from.Inside(func() (err error) {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return buffers(c, 4*buffer) }}
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
	raw, err := out.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256<<10)
	var window, looks float64
	n, begin, look := 0, time.Now().Add(while), time.Now()
	for end := begin.Add(time.Second); ; {
		_ = in.SetReadDeadline(end.Add(time.Minute)) // never fails
		got, err := in.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if now.After(begin) && now.After(look) {
			look = now.Add(10 * time.Millisecond)
			_ = raw.Control(func(fd uintptr) { // it is open
				if i, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO); err == nil {
					looks++
					window += float64(i.Snd_wnd)
					allowed = window / looks / (float64(i.Min_rtt) / 1e6)
				}
			})
		}
		if now.After(begin) {
			n += got
		}
		if now.After(end) {
			rate = float64(n) / now.Sub(begin).Seconds()
			break
		}
	}
	out.Close()
	in.Close()
	return rate, allowed
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

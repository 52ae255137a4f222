package nfqueue

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A thread that sleeps for long wakes late, up to a third of a millisecond;
// one that has just slept wakes almost on time. So the loop sleeps until 350 µs
// before, then until 80 µs before, and spins for the rest:
//
//	──sleep──────────────────────▶│──sleep──▶│─spin─▶ let go
//	                        T−350 µs     T−80 µs     T
const (
	coarse   = 350 * time.Microsecond
	fine     = 80 * time.Microsecond
	spinning = 0.06 // of a core, at most
	spinMost = 20 * time.Millisecond
)

// wait waits until next (never, if that is negative), or until something comes.
func (l *loop) wait(next time.Duration) (ready [2]bool, err error) {
	for {
		now := l.now()
		l.spare = min(spinMost, l.spare+time.Duration(spinning*float64(now-l.then)))
		l.then = now
		left := next - now
		switch {
		case next < 0:
			return l.poll(-1)
		case left <= 0:
			return l.poll(0)
		case left > coarse:
			left -= coarse
		case left > fine && l.seldom():
			left -= fine
		case l.seldom():
			for l.now() < next {
			}
			l.spare -= left
			return l.poll(0)
		}
		var come bool
		if ready, come, err = l.sleep(left); come || err != nil {
			return ready, err
		}
	}
}

func (l *loop) poll(d time.Duration) ([2]bool, error) {
	ready, _, err := l.sleep(d)
	return ready, err
}

// sleep sleeps for d (for ever, if it is negative), or until something comes.
func (l *loop) sleep(d time.Duration) (ready [2]bool, come bool, err error) {
	fds := [3]unix.PollFd{
		{Fd: int32(l.shapers[0].q.fd), Events: unix.POLLIN},
		{Fd: int32(l.shapers[1].q.fd), Events: unix.POLLIN},
		{Fd: int32(l.wake), Events: unix.POLLIN},
	}
	var most *unix.Timespec
	if d >= 0 {
		t := unix.NsecToTimespec(int64(d))
		most = &t
	}
	n, err := unix.Ppoll(fds[:], most, nil)
	if err == unix.EINTR {
		return ready, true, nil
	}
	if err != nil {
		return ready, false, fmt.Errorf("poll: %w", err)
	}
	if fds[2].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(l.wake, count[:]) // it has told all that it has to
	}
	return [2]bool{fds[0].Revents != 0, fds[1].Revents != 0}, n > 0, nil
}

// count finds out whether packets come thick.
func (l *loop) count(n int) {
	const (
		span  = time.Millisecond
		thick = 8 // packets in that time
	)
	if now := l.now(); now-l.since > span {
		l.thick = l.came > thick && now-l.since < 2*span
		l.since, l.came = now, 0
	}
	l.came += n
}

// gather lets some packets come: a turn costs as much as several do. They are
// seen a little late.
func (l *loop) gather(d time.Duration) {
	nap := unix.NsecToTimespec(int64(d))
	_, _ = unix.Ppoll(nil, &nap, nil) // shorter is as good
}

// seldom: packets come so seldom that it pays to spin for one, and there is
// time left for it.
func (l *loop) seldom() bool { return !l.thick && l.spare > fine }

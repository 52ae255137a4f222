package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxInside bounds the threads that stand in other network namespaces at once.
const maxInside = 16

// insideSlots is a semaphore; a dial holds its thread only as long as it takes.
type insideSlots chan struct{}

// dial connects to a port on the loopback of the process's network namespace.
// The socket is made by a thread that has entered it; once connected, it works
// from everywhere. alive is asked again once the namespace is held, so that a
// process number that was given out anew is not followed.
func (slots insideSlots) dial(ctx context.Context, pid, port int, alive func() bool) (net.Conn, error) {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	defer unix.Close(ns) //nolint:errcheck // read only
	if !alive() {
		return nil, fmt.Errorf("network namespace of process %d: it has ended", pid)
	}
	var conn net.Conn
	err = inside(ns, func() error {
		var d net.Dialer
		var err error
		conn, err = d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.ECONNREFUSED) {
			if six, err := d.DialContext(ctx, "tcp", net.JoinHostPort("::1", strconv.Itoa(port))); err == nil {
				conn = six
				return nil
			}
		}
		return err
	})
	return conn, err
}

// inside runs f on a thread that has entered a network namespace. If the
// thread cannot come back it ends with its goroutine: nobody else gets it.
func inside(ns int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer unix.Close(home) //nolint:errcheck // read only
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- errSetns{err}
			return
		}
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// errSetns says that the namespace could not be entered at all.
type errSetns struct{ err error }

func (e errSetns) Error() string { return "setns: " + e.err.Error() }
func (e errSetns) Unwrap() error { return e.err }

// forbidden says whether err means that we may never enter that namespace.
func forbidden(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

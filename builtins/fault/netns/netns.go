// Package netns does work inside a network namespace.
//
// A namespace belongs to a thread, and Go moves goroutines between threads:
//
//	caller ──▶ goroutine locked to its thread ── setns ──▶ f() ── setns back ──▶ caller goes on
//	                                                              └ fails: the thread is thrown away
//
// Sockets made by f stay in the namespace and may be used from anywhere.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Namespace is a network namespace held open: it lives at least as long as
// this does.
type Namespace struct {
	file *os.File
	id   ID
}

// An ID tells namespaces of one boot apart.
type ID struct {
	Dev, Inode uint64
}

func (id ID) String() string { return fmt.Sprintf("net:[%d]", id.Inode) }

// Open opens the namespace at a path such as /run/netns/blue.
func Open(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return New(f)
}

// OfProcess opens the namespace that a process lives in.
func OfProcess(pid int) (*Namespace, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("network namespace: got pid %d, want one above 0", pid)
	}
	return Open(fmt.Sprintf("/proc/%d/ns/net", pid))
}

// Current opens the namespace of the calling goroutine's thread: this process's
// own, outside of Inside. /proc/self would be the first thread's, which may be
// inside another just now.
func Current() (*Namespace, error) { return Open("/proc/thread-self/ns/net") }

// New takes over an open file, and closes it if it is no network namespace.
func New(f *os.File) (*Namespace, error) {
	n := &Namespace{file: f}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err == nil && kind != unix.CLONE_NEWNET {
		err = fmt.Errorf("got a namespace of type %#x, want %#x", kind, unix.CLONE_NEWNET)
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err != nil {
		_ = f.Close() // nothing was written to it
		return nil, fmt.Errorf("%s is no network namespace: %w", f.Name(), err)
	}
	n.id = ID{Dev: uint64(st.Dev), Inode: st.Ino}
	return n, nil
}

// ID names the namespace.
func (n *Namespace) ID() ID { return n.id }

// Fd is valid until Close.
func (n *Namespace) Fd() int { return int(n.file.Fd()) }

// File is for handing the namespace to another process.
func (n *Namespace) File() *os.File { return n.file }

// Close lets the namespace go.
func (n *Namespace) Close() error { return n.file.Close() }

// Inside runs f in the namespace, on a thread of its own for as long as f
// takes. Goroutines that f starts are not inside.
func (n *Namespace) Inside(f func() error) error { return Inside(n.Fd(), f) }

// Inside runs f in the namespace that fd refers to. See Namespace.Inside.
func Inside(fd int, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w (root, or CAP_SYS_ADMIN, is needed)", err)
		}
		return f()
	})
}

// Fresh makes a namespace. Only its holders keep it: nothing is left when the
// last of them ends, however it ends.
func Fresh() (n *Namespace, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w (root, or CAP_SYS_ADMIN, is needed)", err)
		}
		n, err = Open("/proc/thread-self/ns/net")
		return err
	})
	return n, err
}

// onThread runs f on a thread that f may move to another namespace. A panic of
// f reaches the caller as in any call.
func onThread(f func() error) error {
	type ending struct {
		err      error
		panicked any
	}
	ended := make(chan ending)
	go func() {
		var end ending
		defer func() { ended <- end }()
		runtime.LockOSThread()
		home, err := Current()
		if err != nil {
			end.err = err
			return // locked: the thread ends with its goroutine
		}
		defer func() {
			end.panicked = recover()
			if unix.Setns(home.Fd(), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			_ = home.Close() // nothing was written to it
		}()
		end.err = f()
	}()
	end := <-ended
	if end.panicked != nil {
		panic(end.panicked)
	}
	return end.err
}

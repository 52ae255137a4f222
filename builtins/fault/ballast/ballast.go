// Package ballast takes room on a file system, and lets it go at once when told
// to, or when this process dies.
//
//	          ┌── lump 1: a file without a name (O_TMPFILE, fallocate)
//	Ballast ──┤
//	   │      └── lump N: another one; in memory, each held by a thread of its own
//	   └── every 20 ms: has somebody freed room? lump 1 takes it
//
// The kernel frees a file without a name with the last process that has it open:
// kill -9 is an undo. Where a file system has no such files the ballast has a
// name, which its owner must have written down before; where it cannot
// allocate, the ballast is written, at a bounded rate.
package ballast

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/mounts"
)

// How a ballast is held.
const (
	Auto   = "auto"   // by the kernel, else by a file
	Kernel = "kernel" // gone with this process
	File   = "file"   // stays until it is removed
)

const (
	step   = 1 << 30               // of one call: between two of them an end is heeded
	share  = 128 << 20             // that is worth a keeper of its own
	look   = 20 * time.Millisecond // between two looks whether room was freed
	barren = 50 * time.Millisecond // instead, after one that found room and could not take it
)

// A Spec is what a ballast is to be.
type Spec struct {
	Dir  int    // an open folder; the caller's until Close
	Name string // of the file, where it must have one
	Hold string
	// Exactly one is above or at zero: how much to take, or how much to leave
	// to a service (of its own, if Root: it may use what is kept for root).
	Size, Leave int64
	Root        bool
	Keep        bool // take what becomes free while it lasts; not with Size
	Tell        func(string)
	Rate        int64 // bytes a second where it must be written; 0: 128 MiB
}

// A Ballast is one that is in place, or half so.
type Ballast struct {
	spec    Spec
	named   bool
	written bool
	lumps   []*lump

	stop chan struct{} // ends the keeping; nil: there is none
	kept chan struct{}
	lost chan error

	mu       sync.Mutex
	refills  int
	refilled int64
}

// A lump is one file of the ballast. Its number means something on its keeper's
// thread only.
type lump struct {
	*keeper
	fd  int
	end int64
}

// New makes a ballast that holds nothing yet.
func New(s Spec) *Ballast {
	if s.Rate == 0 {
		s.Rate = 128 << 20
	}
	if s.Tell == nil {
		s.Tell = func(string) {}
	}
	return &Ballast{spec: s, lost: make(chan error, 1)}
}

// ErrFull is in the chain of Fill's error where the file system was full before
// the size was reached.
var ErrFull = errors.New("the file system is full")

// Fill takes the room, and returns once it is taken. Whatever it returns, Close
// lets go of what there is.
func (b *Ballast) Fill(ctx context.Context) error {
	need, err := b.need()
	if err != nil {
		return err
	}
	if err := b.open(); err != nil {
		return err
	}
	if b.written {
		err = b.write(ctx, b.lumps[0], need)
	} else {
		err = b.allocate(ctx, need)
	}
	if err == nil && b.spec.Keep && b.spec.Size < 0 {
		b.stop, b.kept = make(chan struct{}), make(chan struct{})
		go b.keep()
	}
	return err
}

// need is how many bytes are still to be taken.
func (b *Ballast) need() (int64, error) {
	if b.spec.Size >= 0 {
		return b.spec.Size - b.Bytes(), nil
	}
	u, err := mounts.UsageOf(b.spec.Dir)
	return u.For(b.spec.Root).Avail - b.spec.Leave, err
}

// open makes the first file, and finds out what the file system can do.
func (b *Ballast) open() error {
	l, err := b.nameless()
	switch {
	case b.spec.Hold == File, unsupported(err) && b.spec.Hold == Auto:
		b.named = true
		l, err = b.openLump(b.spec.Name, unix.O_CREAT|unix.O_EXCL)
	case unsupported(err):
		return fmt.Errorf("this file system has no files without a name (%w); use hold = \"auto\"", err)
	}
	if err != nil {
		return fmt.Errorf("ballast: %w", err)
	}
	b.lumps = append(b.lumps, l)
	if err := l.allocate(1); unsupported(err) {
		b.written = true
	} else if err != nil && !full(err) {
		return fmt.Errorf("ballast: allocate: %w", err)
	}
	l.end = 0 // that block is the first of what follows
	return nil
}

func (b *Ballast) nameless() (*lump, error) {
	if b.spec.Hold == File {
		return nil, nil
	}
	return b.openLump(".", unix.O_TMPFILE)
}

func (b *Ballast) openLump(name string, flags int) (*lump, error) {
	l := &lump{}
	if b.on(unix.TMPFS_MAGIC) {
		l.keeper = newKeeper(b.spec.Dir)
	}
	var err error
	l.do(func() {
		l.fd, err = unix.Openat(b.spec.Dir, name, flags|unix.O_RDWR|unix.O_CLOEXEC|unix.O_LARGEFILE, 0o600)
	})
	if err != nil {
		l.keeper.end()
		return nil, err
	}
	return l, nil
}

// allocate takes need bytes by as many keepers as it is worth, then what is
// still lacking by the first.
func (b *Ballast) allocate(ctx context.Context, need int64) error {
	for n := min(int(need/share), runtime.NumCPU()); b.lumps[0].keeper != nil && len(b.lumps) < n && !b.named; {
		l, err := b.nameless()
		if err != nil {
			return fmt.Errorf("ballast: %w", err)
		}
		b.lumps = append(b.lumps, l)
	}
	errs := make([]error, len(b.lumps))
	var all sync.WaitGroup
	part := need / int64(len(b.lumps))
	for i, l := range b.lumps {
		all.Go(func() { _, errs[i] = l.grow(ctx, part) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.settle()
	return b.rest(ctx, b.lumps[0].grow)
}

// settle makes statfs say what was taken: btrfs counts it when it commits.
func (b *Ballast) settle() {
	if b.on(unix.BTRFS_SUPER_MAGIC) {
		l := b.lumps[0]
		l.do(func() { _ = unix.Syncfs(l.fd) }) // what it could not write is not ours
	}
}

// on says whether the file system is of a kind.
func (b *Ballast) on(magic int64) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(b.spec.Dir, &st) == nil && int64(st.Type) == magic
}

// rest takes what is still lacking with grow, which reports whether the file
// system was full.
func (b *Ballast) rest(ctx context.Context, grow func(context.Context, int64) (bool, error)) error {
	for {
		need, err := b.need()
		if err != nil || need <= 0 {
			return err
		}
		stop, err := grow(ctx, need)
		if err != nil {
			return err
		}
		b.settle()
		if left, err := b.need(); stop && err == nil && left > 0 && b.spec.Size >= 0 {
			return fmt.Errorf("%w: %d of %d bytes could be taken", ErrFull, b.Bytes(), b.spec.Size)
		}
		if stop {
			return nil
		}
	}
}

// grow allocates n more bytes; full says that no block more can be had.
func (l *lump) grow(ctx context.Context, n int64) (stop bool, err error) {
	for at := int64(step); n > 0; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		at = min(at, n)
		switch err := l.allocate(at); {
		case err == nil:
			n -= at
		case !full(err):
			return false, fmt.Errorf("ballast: allocate: %w", err)
		case at <= 4096:
			return true, nil
		default:
			at /= 2
		}
	}
	return false, nil
}

func (l *lump) allocate(n int64) (err error) {
	l.do(func() {
		for {
			if err = unix.Fallocate(l.fd, 0, l.end, n); err != unix.EINTR {
				return
			}
		}
	})
	if err == nil {
		l.end += n
	}
	return err
}

// bytes is what the file takes on the disk.
func (l *lump) bytes() (n int64) {
	l.do(func() {
		var st unix.Stat_t
		if unix.Fstat(l.fd, &st) == nil {
			n = st.Blocks * 512
		}
	})
	return n
}

// let lets the file go, on its thread, and ends that.
func (l *lump) let() {
	l.do(func() { _ = unix.Close(l.fd) }) // its content is of no use
	l.keeper.end()
}

// Bytes is what the ballast takes now.
func (b *Ballast) Bytes() (n int64) {
	for _, l := range b.lumps {
		n += l.bytes()
	}
	return n
}

// Named says that it lies under the spec's name, and will not go by itself.
func (b *Ballast) Named() bool { return b.named }

// Written says that it had to be written.
func (b *Ballast) Written() bool { return b.written }

// Refills says how often room that had become free was taken, and how much.
func (b *Ballast) Refills() (times int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refills, b.refilled
}

// Lost has an error once the ballast can no longer be kept.
func (b *Ballast) Lost() <-chan error { return b.lost }

// Close lets the ballast go, all keepers at once, and returns once the kernel
// has it. A file with a name is its owner's to remove. It may be called again.
func (b *Ballast) Close() {
	if b.stop != nil {
		close(b.stop)
		<-b.kept
		b.stop = nil
	}
	var all sync.WaitGroup
	for _, l := range b.lumps {
		all.Go(l.let)
	}
	all.Wait()
	b.lumps = nil
}

func full(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

func unsupported(err error) bool {
	for _, e := range []error{unix.EOPNOTSUPP, unix.EISDIR, unix.ENOENT, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

package ballast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/mounts"
)

// Inodes takes files instead of room: empty ones, open and without a name, or
// in a folder of the spec's name.
type Inodes struct {
	spec    Spec // Leave counts inodes
	keepers []*shelf
	folder  int // of those with a name; -1: there is none
	next    int

	stop chan struct{}
	kept chan struct{}
	lost chan error
}

// A shelf is a keeper with as many open files as a process may have.
type shelf struct {
	*keeper
	fds []int
}

const spareFiles = 256 // that a table of open files has left at least

// NewInodes makes one that holds nothing yet. Size, Root and Rate mean nothing.
func NewInodes(s Spec) *Inodes {
	return &Inodes{spec: s, folder: -1, lost: make(chan error, 1)}
}

// Fill takes the files, and returns once they are taken.
func (n *Inodes) Fill(ctx context.Context) error {
	if n.spec.Hold == File {
		if err := unix.Mkdirat(n.spec.Dir, n.spec.Name, 0o700); err != nil {
			return fmt.Errorf("ballast: make %s: %w", n.spec.Name, err)
		}
		fd, err := unix.Openat(n.spec.Dir, n.spec.Name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("ballast: open %s: %w", n.spec.Name, err)
		}
		n.folder = fd
	}
	if _, err := n.take(ctx); err != nil {
		return err
	}
	if n.spec.Keep {
		n.stop, n.kept = make(chan struct{}), make(chan struct{})
		go n.keep()
	}
	return nil
}

const batch = 1024 // files between two looks at how many are left

// take takes what is free beyond what was to be left.
func (n *Inodes) take(ctx context.Context) (taken int, err error) {
	for {
		u, err := mounts.UsageOf(n.spec.Dir)
		need := min(u.FilesFree-n.spec.Leave, batch)
		if err != nil || need <= 0 {
			return taken, err
		}
		if ctx.Err() != nil {
			return taken, context.Cause(ctx)
		}
		got, err := n.make(int(need))
		taken += got
		if full(err) {
			return taken, nil
		}
		if err != nil {
			return taken, fmt.Errorf("ballast: %w", err)
		}
	}
}

func (n *Inodes) make(need int) (got int, err error) {
	if n.folder >= 0 {
		for got < need {
			fd, err := unix.Openat(n.folder, strconv.Itoa(n.next), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
			if err != nil {
				return got, err
			}
			_ = unix.Close(fd) // nothing was written to it
			n.next++
			got++
		}
		return got, nil
	}
	for got < need {
		if len(n.keepers) == 0 || !n.keepers[len(n.keepers)-1].room() {
			n.keepers = append(n.keepers, &shelf{keeper: newKeeper(n.spec.Dir)})
		}
		s := n.keepers[len(n.keepers)-1]
		before := len(s.fds)
		s.do(func() {
			for ; got < need && s.room(); got++ {
				var fd int
				if fd, err = unix.Openat(n.spec.Dir, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600); err != nil {
					return
				}
				s.fds = append(s.fds, fd)
			}
		})
		if err != nil {
			return got, err
		}
		if len(s.fds) == before {
			return got, errors.New("not one more open file is allowed to this process")
		}
	}
	return got, nil
}

func (s *shelf) room() bool {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return err == nil && uint64(len(s.fds))+spareFiles < limit.Cur
}

func (n *Inodes) keep() {
	defer close(n.kept)
	for {
		select {
		case <-n.stop:
			return
		case <-time.After(look):
		}
		if _, err := n.take(context.Background()); err != nil {
			n.lost <- err
			return
		}
	}
}

// Lost has an error once the files can no longer be kept.
func (n *Inodes) Lost() <-chan error { return n.lost }

// Files is how many there are.
func (n *Inodes) Files() (all int) {
	for _, s := range n.keepers {
		all += len(s.fds)
	}
	return all + n.next
}

// Close lets the files without a name go. Those with one are their owner's to
// remove. It may be called again.
func (n *Inodes) Close() {
	if n.stop != nil {
		close(n.stop)
		<-n.kept
		n.stop = nil
	}
	for _, s := range n.keepers {
		s.do(func() {
			for _, fd := range s.fds {
				_ = unix.Close(fd) // there is nothing in it
			}
		})
		s.end()
	}
	n.keepers = nil
	if n.folder >= 0 {
		_ = unix.Close(n.folder) // read only
		n.folder = -1
	}
}

// RemoveFolder removes a folder of named files, and no other: one that has
// anything but files of ours stays, with that.
func RemoveFolder(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() //nolint:errcheck // read only
	for {
		files, err := f.Readdirnames(batch)
		for _, file := range files {
			if _, no := strconv.Atoi(file); no != nil {
				return fmt.Errorf("%s/%s is not ours", name, file)
			}
			if err := unix.Unlinkat(fd, file, 0); err != nil && err != unix.ENOENT {
				return &os.PathError{Op: "remove", Path: name + "/" + file, Err: err}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}

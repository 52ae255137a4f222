package mounts

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Root is a process's root folder, held open: what becomes of the process's
// number changes nothing of what is meant.
type Root struct {
	fd  int
	pid int
}

// OpenRoot holds the root of process pid. The caller must have the process held
// by a pidfd, and find it alive afterwards.
func OpenRoot(pid int) (*Root, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("root of process %d: %w", pid, err)
	}
	return &Root{fd: fd, pid: pid}, nil
}

// Close lets it go.
func (r *Root) Close() {
	if r != nil {
		_ = unix.Close(r.fd) // nothing was written to it
	}
}

// A Dir is a folder of a process, held open.
type Dir struct {
	FD    int // O_PATH
	Path  string
	Inode uint64
	Mount Mount
}

// Close lets it go.
func (d *Dir) Close() {
	if d != nil {
		_ = unix.Close(d.FD) // nothing was written to it
	}
}

// Dir holds the folder at an absolute path of the process. Symlinks lead where
// they lead for the process, and nowhere else.
func (r *Root) Dir(name string) (*Dir, error) {
	if !path.IsAbs(name) {
		return nil, fmt.Errorf("got %q, want an absolute path", name)
	}
	fd, err := r.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	d := &Dir{FD: fd, Path: path.Clean(name)}
	if err := d.look(r.pid); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (r *Root) open(name string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range 100 { // a rename on the way makes the kernel give up, and try again is what it wants
		fd, err := unix.Openat2(r.fd, name, &how)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS):
			return -1, fmt.Errorf("%s: this kernel has no openat2 (Linux 5.6 or later), without which a path in a container cannot be opened safely", name)
		case err != nil:
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, nil
	}
	return -1, &os.PathError{Op: "open", Path: name, Err: unix.EAGAIN}
}

// look fills in which file system the folder is on.
func (d *Dir) look(pid int) error {
	var st unix.Stat_t
	if err := unix.Fstat(d.FD, &st); err != nil {
		return &os.PathError{Op: "stat", Path: d.Path, Err: err}
	}
	d.Inode = st.Ino
	id, err := mountID(d.FD)
	if err != nil {
		return err
	}
	all, err := Of(pid)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.ID == id {
			d.Mount = m
			return nil
		}
	}
	return fmt.Errorf("%s: its mount is not among those of process %d", d.Path, pid)
}

func mountID(fd int) (int, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(id))
		}
	}
	return 0, fmt.Errorf("the kernel does not say which mount a file is on")
}

// At is what process pid sees at a path: the mount, and how full it is.
func At(pid int, name string) (Mount, Usage, error) {
	r, err := OpenRoot(pid)
	if err != nil {
		return Mount{}, Usage{}, err
	}
	defer r.Close()
	d, err := r.Dir(name)
	if err != nil {
		return Mount{}, Usage{}, err
	}
	defer d.Close()
	u, err := UsageOf(d.FD)
	return d.Mount, u, err
}

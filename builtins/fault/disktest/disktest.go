// Package disktest gives tests real file systems of their own, on loop devices
// and in memory. They go with the test; what a killed one left goes with the
// next.
package disktest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Disk is a mounted file system.
type Disk struct {
	Dir    string // where it is mounted
	Device string // "/dev/loop3"; empty: none
}

const prefix = "runner-disktest-"

var swept sync.Once

// needs skips the test where it cannot be done, and fails it in CI.
func needs(t testing.TB, tools ...string) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "these tests mount, which only root may"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = "these tests need " + tool
		}
	}
	switch {
	case missing == "":
	case os.Getenv("CI") == "true":
		t.Fatal(missing)
	default:
		t.Skip(missing)
	}
}

// place makes a folder that goes with the test. A lock on it tells the sweep
// that its test lives.
func place(t testing.TB) string {
	t.Helper()
	swept.Do(sweep)
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(clear(dir), lock.Close()); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// sweep removes what tests left that were killed.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range left {
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		if err != nil {
			if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Minute { // else it is being made, or removed
				_ = clear(dir)
			}
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = clear(dir) // the next sweep tries again
		}
		_ = lock.Close() // nothing was written to it
	}
}

// clear unmounts what is in a folder of ours, and removes it. A loop device goes
// with its mount.
func clear(dir string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.IsDir() {
			err := error(nil)
			for err == nil { // as often as it is mounted
				err = unix.Unmount(filepath.Join(dir, e.Name()), unix.MNT_DETACH)
			}
			if err != unix.EINVAL { // else the removal would empty what is mounted
				return fmt.Errorf("unmount %s: %w", e.Name(), err)
			}
		}
	}
	return os.RemoveAll(dir)
}

func mount(t testing.TB, source, name, kind string, flags uintptr, data string) string {
	t.Helper()
	dir := filepath.Join(place(t), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount(source, dir, kind, flags, data)
	if err == unix.ENODEV && os.Getenv("CI") != "true" {
		t.Skipf("this kernel has no %s", kind)
	}
	if err != nil {
		t.Fatalf("mount %s (%s): %v", kind, data, err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Tmpfs is one in memory.
func Tmpfs(t testing.TB, size int64, options string) *Disk {
	t.Helper()
	needs(t)
	data := fmt.Sprintf("size=%d", size)
	if options != "" {
		data += "," + options
	}
	return &Disk{Dir: mount(t, "tmpfs", "tmpfs", "tmpfs", 0, data)}
}

// Ext4 is one on a loop device, of which reserve percent are kept for root.
func Ext4(t testing.TB, size int64, reserve int, args ...string) *Disk {
	t.Helper()
	return loop(t, "ext4", size, append([]string{"-q", "-F", "-m", fmt.Sprint(reserve)}, args...)...)
}

// Ext2 is one that cannot allocate.
func Ext2(t testing.TB, size int64) *Disk {
	t.Helper()
	return loop(t, "ext2", size, "-q", "-F", "-m", "0")
}

// XFS is one on a loop device, of 300 MiB or more.
func XFS(t testing.TB, size int64) *Disk {
	t.Helper()
	return loop(t, "xfs", size, "-q", "-f")
}

// Btrfs is one on a loop device, of 110 MiB or more.
func Btrfs(t testing.TB, size int64) *Disk {
	t.Helper()
	return loop(t, "btrfs", size, "-q", "-f")
}

// Overlay is one whose upper folder is on another disk.
func Overlay(t testing.TB, upper *Disk) *Disk {
	t.Helper()
	needs(t)
	data := ""
	for _, name := range []string{"lower", "upper", "work"} {
		dir := filepath.Join(upper.Dir, "overlay-"+name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		data += "," + name + "dir=" + dir
	}
	return &Disk{Dir: mount(t, "overlay", "overlay", "overlay", 0, data[1:])}
}

func loop(t testing.TB, kind string, size int64, args ...string) *Disk {
	t.Helper()
	mkfs := "mkfs." + kind
	needs(t, mkfs)
	image := filepath.Join(place(t), kind+".img")
	f, err := os.OpenFile(image, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // the loop device has it
	if out, err := exec.Command(mkfs, append(args, image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", mkfs, err, out)
	}
	device, name, err := attach(f)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close() //nolint:errcheck // the mount has it
	return &Disk{Dir: mount(t, name, kind, kind, unix.MS_NOATIME, ""), Device: name}
}

// attach makes a loop device of a file, which goes with its last user.
func attach(f *os.File) (*os.File, string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, "", err
	}
	defer control.Close() //nolint:errcheck // nothing was written to it
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, "", fmt.Errorf("loop device: %w", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		device, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, "", err
		}
		config := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, name, nil
		}
		_ = device.Close()     // nothing was written to it
		if err != unix.EBUSY { // else somebody was faster
			return nil, "", fmt.Errorf("loop device %s: %w", name, err)
		}
	}
}

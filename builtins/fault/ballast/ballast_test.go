package ballast

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/disktest"
	"chaosrunner/builtins/fault/mounts"
)

const mib = 1 << 20

// soon polls until ok says so.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func open(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func usage(t testing.TB, dir string) mounts.Usage {
	t.Helper()
	_, u, err := mounts.At(os.Getpid(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// disks has every file system that the ballast is promised for.
var disks = map[string]func(testing.TB) *disktest.Disk{
	"tmpfs":   func(t testing.TB) *disktest.Disk { return disktest.Tmpfs(t, 200*mib, "") },
	"ext4":    func(t testing.TB) *disktest.Disk { return disktest.Ext4(t, 200*mib, 5) },
	"ext2":    func(t testing.TB) *disktest.Disk { return disktest.Ext2(t, 64*mib) },
	"xfs":     func(t testing.TB) *disktest.Disk { return disktest.XFS(t, 320*mib) },
	"btrfs":   func(t testing.TB) *disktest.Disk { return disktest.Btrfs(t, 200*mib) },
	"overlay": func(t testing.TB) *disktest.Disk { return disktest.Overlay(t, disktest.Ext4(t, 200*mib, 5)) },
}

// A full disk is full for whoever is not root, and is as it was afterwards.
func TestFull(t *testing.T) {
	for name, disk := range disks {
		for _, hold := range []string{Kernel, File} {
			t.Run(name+"/"+hold, func(t *testing.T) {
				t.Parallel()
				dir := disk(t).Dir
				before := usage(t, dir)
				b := New(Spec{Dir: open(t, dir), Name: ".ours", Hold: hold, Size: -1})
				defer b.Close()
				if err := b.Fill(t.Context()); err != nil {
					t.Fatal(err)
				}
				during := usage(t, dir)
				if during.Avail > 4*mib || b.Bytes() < before.Avail*8/10 {
					t.Errorf("got %d MiB available with a ballast of %d MiB, want none of %d MiB", during.Avail/mib, b.Bytes()/mib, before.Avail/mib)
				}
				if name == "ext4" && during.Free < 8*mib {
					t.Errorf("got %d MiB left for root, want the 5 %% that are kept for it", during.Free/mib)
				}
				_, err := os.Stat(filepath.Join(dir, ".ours"))
				if b.Named() != (hold == File) || b.Named() != (err == nil) || b.Written() != (name == "ext2") {
					t.Errorf("got named %v (%v), written %v", b.Named(), err, b.Written())
				}
				b.Close()
				if b.Named() {
					if err := os.Remove(filepath.Join(dir, ".ours")); err != nil {
						t.Fatal(err)
					}
				}
				soon(t, "the room is back", func() bool {
					unix.Sync() // btrfs frees with its next commit
					return usage(t, dir).Avail >= before.Avail-mib
				})
			})
		}
	}
}

// Each file system is left what was asked for, and no less.
func TestLeave(t *testing.T) {
	for name, disk := range disks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := disk(t).Dir
			b := New(Spec{Dir: open(t, dir), Hold: Auto, Size: -1, Leave: 20 * mib})
			defer b.Close()
			if err := b.Fill(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := usage(t, dir).Avail; got > 20*mib || got < 16*mib {
				t.Errorf("got %d KiB available, want 20 MiB", got>>10)
			}
		})
	}
}

func TestSizeAndLeave(t *testing.T) {
	dir := disktest.Ext4(t, 200*mib, 5).Dir
	before := usage(t, dir)
	b := New(Spec{Dir: open(t, dir), Hold: Auto, Size: 50 * mib})
	if err := b.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := before.Avail - usage(t, dir).Avail; got < 50*mib || got > 51*mib {
		t.Errorf("got %d bytes taken, want 50 MiB", got)
	}
	c := New(Spec{Dir: open(t, dir), Hold: Auto, Size: -1, Leave: 20 * mib})
	if err := c.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := usage(t, dir).Avail; got > 20*mib || got < 19*mib {
		t.Errorf("got %d bytes available, want 20 MiB", got)
	}
	d := New(Spec{Dir: open(t, dir), Hold: Auto, Size: 100 * mib})
	if err := d.Fill(t.Context()); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want that the disk is full before", err)
	}
	b.Close()
	c.Close()
	d.Close()
	if got := usage(t, dir).Avail; got < before.Avail-mib {
		t.Errorf("got %d bytes available, want %d again", got, before.Avail)
	}
}

// A service that may use what is kept for root is left nothing of it.
func TestReserve(t *testing.T) {
	dir := disktest.Ext4(t, 200*mib, 10).Dir
	b := New(Spec{Dir: open(t, dir), Hold: Auto, Size: -1, Root: true})
	defer b.Close()
	if err := b.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	// ext4 keeps a fiftieth for its own metadata, from root too.
	if got := usage(t, dir).Free; got > 5*mib {
		t.Errorf("got %d MiB free, want nothing of the 20 left that are kept for root", got/mib)
	}
}

// What the victim frees is taken.
func TestKeepFull(t *testing.T) {
	for name, disk := range disks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := disk(t).Dir
			victim := filepath.Join(dir, "victim")
			if err := os.WriteFile(victim, make([]byte, 10*mib), 0o600); err != nil {
				t.Fatal(err)
			}
			unix.Sync()
			b := New(Spec{Dir: open(t, dir), Hold: Auto, Size: -1, Keep: true})
			defer b.Close()
			if err := b.Fill(t.Context()); err != nil {
				t.Fatal(err)
			}
			had := b.Bytes()
			if err := os.Remove(victim); err != nil {
				t.Fatal(err)
			}
			soon(t, "10 MiB that were freed are taken", func() bool {
				unix.Sync()
				_, bytes := b.Refills()
				return bytes >= 9*mib && b.Bytes() >= had+9*mib && usage(t, dir).Avail < 2*mib
			})
			select {
			case err := <-b.Lost():
				t.Error(err)
			default:
			}
		})
	}
}

// Our own open files do not live on in the keepers: a lock that this process
// gives up is free.
func TestKeepersKeepNothingElse(t *testing.T) {
	dir := disktest.Tmpfs(t, 400*mib, "").Dir
	at := open(t, dir) // before the lock, whose number is then above all that keepers keep
	lock := filepath.Join(t.TempDir(), "lock")
	f, err := os.Create(lock)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	b := New(Spec{Dir: at, Hold: Auto, Size: 300 * mib})
	defer b.Close()
	if err := b.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.lumps) < 2 {
		t.Fatalf("got %d keepers, want a second one", len(b.lumps))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	g, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close() //nolint:errcheck // read only
	if err := unix.Flock(int(g.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the lock is still held: %v", err)
	}
}

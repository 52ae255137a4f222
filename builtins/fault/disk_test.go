package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/fault/disktest"
	"chaosrunner/runner/agent/enginetest"
)

const mib = 1 << 20

// lodger runs a container that has a disk at /data.
func lodger(t testing.TB, d *disktest.Disk, o enginetest.Options) *enginetest.Container {
	t.Helper()
	o.Binds = append(o.Binds, d.Dir+":/data")
	return enginetest.Run(t, o)
}

// statfs asks as the target does, without our code.
func statfs(t testing.TB, k *enginetest.Container, path string) unix.Statfs_t {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(fmt.Sprintf("/proc/%d/root%s", k.Inspect().State.Pid, path), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func available(t testing.TB, k *enginetest.Container) int64 {
	t.Helper()
	st := statfs(t, k, "/data")
	return int64(st.Bavail) * st.Bsize
}

// names has the files at the target's /data.
func names(t testing.TB, k *enginetest.Container) (all []string) {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/data", k.Inspect().State.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != "lost+found" && !strings.HasPrefix(f.Name(), "overlay-") {
			all = append(all, f.Name())
		}
	}
	return all
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// fill injects, and keeps what this process holds.
func fill(t testing.TB, params string, target fault.Target) fault.Fault {
	t.Helper()
	f, err := prepare(t, "fill_disk", params, target)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(t.Context(), world(t)); err != nil {
		t.Fatal(errors.Join(err, errorOf(undo(t, f, fault.Past{}, time.Minute))))
	}
	return f
}

func errorOf(_ string, err error) error { return err }

var disks = map[string]func(testing.TB) *disktest.Disk{
	"tmpfs":   func(t testing.TB) *disktest.Disk { return disktest.Tmpfs(t, 64*mib, "") },
	"ext4":    func(t testing.TB) *disktest.Disk { return disktest.Ext4(t, 200*mib, 10) },
	"ext2":    func(t testing.TB) *disktest.Disk { return disktest.Ext2(t, 32*mib) },
	"xfs":     func(t testing.TB) *disktest.Disk { return disktest.XFS(t, 320*mib) },
	"btrfs":   func(t testing.TB) *disktest.Disk { return disktest.Btrfs(t, 200*mib) },
	"overlay": func(t testing.TB) *disktest.Disk { return disktest.Overlay(t, disktest.Ext4(t, 200*mib, 0)) },
}

// Filled, the target's own statfs shows no room; undone, all of it is back and
// nothing has stayed.
func TestFillDisk(t *testing.T) {
	for name, disk := range disks {
		for _, hold := range []string{"auto", "file"} {
			t.Run(name+"/"+hold, func(t *testing.T) {
				t.Parallel()
				k := lodger(t, disk(t), enginetest.Options{User: "4711"})
				before := available(t, k)
				f, err := prepare(t, "fill_disk", fmt.Sprintf(`{"path":"/data","percent":1,"keep_full":true,"hold":%q}`, hold), k.Target())
				if err != nil {
					t.Fatal(err)
				}
				if len(names(t, k)) > 0 || available(t, k) < before-mib {
					t.Errorf("Prepare has touched the disk: %v", names(t, k))
				}
				if err := f.Apply(t.Context(), world(t)); err != nil {
					t.Fatal(err)
				}
				defer mustUndo(t, f, settled)
				if got := available(t, k); got > 4*mib {
					t.Errorf("got %d MiB available, want a full disk", got/mib)
				}
				if got := len(names(t, k)); got > 1 || hold == "file" && got == 0 {
					t.Errorf("got files %v", names(t, k))
				}
				in := f.(fault.Witness).Findings()
				mustUndo(t, f, settled)
				out := f.(fault.Witness).Findings()
				if len(in) != 1 || len(out) != 1 || in[0].Figures["available_bytes"] > 4*mib || out[0].Figures["available_bytes"] < float64(before-4*mib) {
					t.Errorf("got findings %+v and %+v", in, out)
				}
				eventually(t, "the room is back", func() bool {
					unix.Sync() // btrfs frees with its next commit
					return available(t, k) >= before-mib
				})
				if left := names(t, k); len(left) > 0 {
					t.Errorf("left over: %v", left)
				}
			})
		}
	}
}

// Part of a disk, by what is used afterwards, by what is left and by size.
func TestFillDiskPartly(t *testing.T) {
	t.Parallel()
	k := lodger(t, disktest.Ext4(t, 200*mib, 10), enginetest.Options{User: "4711"})
	all := available(t, k)
	for params, want := range map[string]int64{
		`"percent":0.8`:     all / 5,
		`"leave":52428800`:  50 * mib,
		`"size":104857600`:  all - 100*mib,
		`"percent":0.50001`: all / 2,
	} {
		f := fill(t, `{"path":"/data",`+params+`}`, k.Target())
		if got := available(t, k); got < want-3*mib || got > want+3*mib {
			t.Errorf("%s: got %d MiB available, want %d", params, got/mib, want/mib)
		}
		mustUndo(t, f, settled)
		if got := available(t, k); got < all-mib {
			t.Errorf("%s: got %d MiB available afterwards, want %d", params, got/mib, all/mib)
		}
	}
}

// A service that runs as root may use what is kept for root: its disk is full
// only without that.
func TestFillDiskOfRoot(t *testing.T) {
	t.Parallel()
	k := lodger(t, disktest.Ext4(t, 200*mib, 10), enginetest.Options{})
	f := fill(t, `{"path":"/data","percent":1}`, k.Target())
	defer mustUndo(t, f, settled)
	if st := statfs(t, k, "/data"); int64(st.Bfree)*st.Bsize > 6*mib {
		t.Errorf("got %d MiB free, want nothing of the 20 left that are kept for root", int64(st.Bfree)*st.Bsize/mib)
	}
}

func TestFillDiskRefuses(t *testing.T) {
	t.Parallel()
	disk := disktest.Ext4(t, 64*mib, 0)
	for name, to := range map[string]string{"out": "/etc", "host": "/var/lib/docker", "within": "/data/folder"} {
		if err := os.Symlink(to, filepath.Join(disk.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(disk.Dir+"/file", make([]byte, 4*mib), 0o600), os.Mkdir(disk.Dir+"/folder", 0o755)); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	k := lodger(t, disk, enginetest.Options{Binds: []string{disktest.Tmpfs(t, mib, "").Dir + ":/ro:ro"}})
	for params, want := range map[string]string{
		`"path":"/nothing","percent":1`:                    "there is no such folder",
		`"path":"/data/file","percent":1`:                  "it is not a folder",
		`"path":"/data/host","percent":1`:                  "there is no such folder", // the container has none of that name
		`"path":"/data/out","percent":1`:                   "the engine's data",       // its own /etc, and not the host's
		`"path":"/proc","percent":1`:                       "has no room to take",
		`"path":"/proc/1/root/data","percent":1`:           "link of /proc",
		`"path":"/proc/1/cwd","percent":1`:                 "link of /proc",
		`"path":"/ro","percent":1`:                         "mounted read-only",
		`"path":"/data","size":1073741824`:                 "are free at /data",
		`"path":"/data","leave":1073741824`:                "are free at /data",
		`"path":"/data","percent":0.01`:                    "% already",
		`"path":"/","percent":1`:                           `volumes: ["own:/"]`,
		`"path":"/","size":1048576,"percent":0`:            "others live too: the engine's data",
		`"path":"/","size":1,"allow_host_disk":true`:       "nobody allows",
		`"path":"/dev/shm/../../etc/hosts","size":1`:       "it is not a folder",
		`"path":"/data/../../../../data/x","size":1`:       "there is no such folder",
		`"path":"/data/folder","size":4611686018427387904`: "are free at /data/folder",
	} {
		before := available(t, k)
		_, err := prepare(t, "fill_disk", "{"+params+"}", k.Target())
		if !errors.Is(err, fault.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want refused with %q", params, err, want)
		}
		if available(t, k) < before-mib {
			t.Errorf("%s: it has taken room", params)
		}
	}
	if _, err := prepare(t, "fill_disk", `{"path":"/data/within","size":1048576}`, k.Target()); err != nil {
		t.Errorf("a link within the disk: %v", err)
	}
}

// Whoever has the disk too is named, unless the blast radius names it.
func TestFillDiskShared(t *testing.T) {
	t.Parallel()
	disk := disktest.Ext4(t, 64*mib, 0)
	k, other := lodger(t, disk, enginetest.Options{}), lodger(t, disk, enginetest.Options{})
	const params = `{"path":"/data","size":1048576}`
	_, err := prepare(t, "fill_disk", params, k.Target())
	if !errors.Is(err, fault.ErrRefused) {
		t.Fatalf("got %v, want refused", err)
	}
	wantIn(t, "refusal", err.Error(), "others live too: container "+other.Name, "driver_opts")
	f, err := fault.New("fill_disk", json.RawMessage(params))
	if err != nil {
		t.Fatal(err)
	}
	w := world(t)
	w.Radius = []string{k.ID, other.ID}
	if err := f.Prepare(t.Context(), w, k.Target()); err != nil {
		t.Errorf("with both in the blast radius: %v", err)
	}
	other.Kill()
	other.WaitFor("down", down)
	if _, err := prepare(t, "fill_disk", params, k.Target()); err != nil {
		t.Errorf("with the other down: %v", err)
	}
}

// A part of a disk of which the host has all is not the target's own.
func TestFillDiskOfHost(t *testing.T) {
	t.Parallel()
	disk := disktest.Ext4(t, 64*mib, 0)
	if err := os.Mkdir(disk.Dir+"/part", 0o755); err != nil {
		t.Fatal(err)
	}
	k := enginetest.Run(t, enginetest.Options{Binds: []string{disk.Dir + "/part:/data"}})
	_, err := prepare(t, "fill_disk", `{"path":"/data","size":1048576}`, k.Target())
	if err == nil || !strings.Contains(err.Error(), "the host itself ("+disk.Dir+")") {
		t.Errorf("got %v, want refused: the host has all of it", err)
	}
}

// Another folder by the time of the harm is not the one that was looked at.
func TestFillDiskOfAnotherFolder(t *testing.T) {
	t.Parallel()
	disk := disktest.Ext4(t, 64*mib, 0)
	if err := os.Mkdir(disk.Dir+"/folder", 0o755); err != nil {
		t.Fatal(err)
	}
	k := lodger(t, disk, enginetest.Options{})
	f, err := prepare(t, "fill_disk", `{"path":"/data/folder","size":1048576}`, k.Target())
	if err == nil {
		err = errors.Join(os.Rename(disk.Dir+"/folder", disk.Dir+"/moved"), os.Mkdir(disk.Dir+"/folder", 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(t.Context(), world(t)); !errors.Is(err, fault.ErrNotBegun) {
		t.Errorf("got %v, want not begun", err)
	}
	mustUndo(t, f, settled)
}

// A tmpfs without a size is filled with the host's memory.
func TestFillDiskOfMemory(t *testing.T) {
	t.Parallel()
	k := lodger(t, disktest.Tmpfs(t, 1<<50, ""), enginetest.Options{})
	_, err := prepare(t, "fill_disk", `{"path":"/data","percent":1}`, k.Target())
	if !errors.Is(err, fault.ErrRefused) || !strings.Contains(err.Error(), "the host's memory, of which") {
		t.Errorf("got %v, want refused: it is the host's memory", err)
	}
	if _, err := prepare(t, "fill_disk", `{"path":"/data","size":1048576}`, k.Target()); err != nil {
		t.Errorf("a little of it: %v", err)
	}
}

type generous struct{ fault.Rules }

func (generous) HostDisk() error { return nil }

// The container's own root lies with the engine's data. With leave of script
// and operator it is filled by a size, here on whatever the engine has it on.
func TestFillDiskOfImage(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{Tmpfs: map[string]string{"/data": "size=1m"}})
	for _, hold := range []string{"auto", "file"} {
		f, err := fault.New("fill_disk", json.RawMessage(`{"path":"/","size":33554432,"allow_host_disk":true,"hold":"`+hold+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		w := world(t)
		w.Rules = generous{}
		if err := f.Prepare(t.Context(), w, k.Target()); err != nil {
			t.Fatal(err)
		}
		if err := f.Apply(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		ballasts := func() []string {
			all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/root/.runner-*", k.Inspect().State.Pid))
			return all
		}
		if hold == "file" && len(ballasts()) != 1 {
			t.Errorf("got %v, want a ballast", ballasts())
		}
		mustUndo(t, f, settled)
		if len(ballasts()) > 0 {
			t.Errorf("left over: %v", ballasts())
		}
	}
}

// The file is found by whoever reads the ledger: with the container up, down,
// and gone with its volume.
func TestFillDiskUndoneByAnother(t *testing.T) {
	down := func(k *enginetest.Container) { k.Kill(); k.WaitFor("down", down) }
	t.Run("in memory", func(t *testing.T) {
		t.Parallel()
		k := enginetest.Run(t, enginetest.Options{Tmpfs: map[string]string{"/data": "size=16m"}})
		f := fill(t, `{"path":"/data","size":8388608,"hold":"file"}`, k.Target())
		defer mustUndo(t, f, settled)
		down(k)
		mustUndo(t, reload(t, "fill_disk", f), fault.Past{})
		k.Start()
		mustUndo(t, reload(t, "fill_disk", f), fault.Past{})
	})
	for name, meanwhile := range map[string]func(k *enginetest.Container){
		"up":        func(*enginetest.Container) {},
		"down":      down,
		"restarted": func(k *enginetest.Container) { down(k); k.Start() },
		"gone":      func(k *enginetest.Container) { k.Remove() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := disktest.Ext4(t, 64*mib, 0)
			k := lodger(t, disk, enginetest.Options{})
			f := fill(t, `{"path":"/data","size":8388608,"hold":"file"}`, k.Target())
			defer mustUndo(t, f, settled)
			meanwhile(k)
			mustUndo(t, reload(t, "fill_disk", f), fault.Past{})
			if left, _ := filepath.Glob(disk.Dir + "/.runner-*"); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
			mustUndo(t, reload(t, "fill_disk", f), fault.Past{Again: true})
		})
	}
}

// A fault that was never applied is undone like any other, whoever does it.
func TestFillDiskNeverApplied(t *testing.T) {
	t.Parallel()
	k := lodger(t, disktest.Tmpfs(t, 16*mib, ""), enginetest.Options{})
	for _, hold := range []string{"auto", "file"} {
		f, err := prepare(t, "fill_disk", `{"path":"/data","percent":1,"hold":"`+hold+`"}`, k.Target())
		if err != nil {
			t.Fatal(err)
		}
		mustUndo(t, f, settled)
		mustUndo(t, reload(t, "fill_disk", f), fault.Past{})
	}
}

// Others fill the disk between the look and the harm: a share is reached all
// the same, a size is not, and its half leaves nothing.
func TestFillDiskFillsByItself(t *testing.T) {
	t.Parallel()
	disk := disktest.Ext4(t, 64*mib, 0)
	k := lodger(t, disk, enginetest.Options{})
	share, err := prepare(t, "fill_disk", `{"path":"/data","percent":1}`, k.Target())
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := prepare(t, "fill_disk", `{"path":"/data","size":41943040}`, k.Target())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk.Dir+"/victim", make([]byte, 20*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	before := available(t, k)
	if err := share.Apply(t.Context(), world(t)); err != nil {
		t.Errorf("a share: %v", err)
	}
	mustUndo(t, share, settled)
	if err := bytes.Apply(t.Context(), world(t)); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a size: got %v, want that the disk is full", err)
	}
	mustUndo(t, bytes, fault.Past{})
	if got := available(t, k); got < before-mib {
		t.Errorf("got %d MiB available, want %d", got/mib, before/mib)
	}
}

// A disk that the target loses meanwhile makes the fault say so.
func TestFillDiskUnmounted(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *enginetest.Container){
		"unmounted": func(t *testing.T, k *enginetest.Container) { unmount(t, k.Inspect().State.Pid, "/data") },
		"restarted": func(_ *testing.T, k *enginetest.Container) { k.Kill(); k.WaitFor("down", down); k.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := enginetest.Run(t, enginetest.Options{Tmpfs: map[string]string{"/data": "size=16m"}})
			f := fill(t, `{"path":"/data","percent":1,"keep_full":true}`, k.Target())
			defer mustUndo(t, f, settled)
			lost := f.(fault.Fragile).Lost()
			lose(t, k)
			select {
			case err, open := <-lost:
				if !open || !strings.Contains(err.Error(), "harms nobody any more") {
					t.Errorf("got %v, %v", err, open)
				}
			case <-time.After(time.Minute):
				t.Error("the loss was not noticed for a minute")
			}
		})
	}
}

// A victim that the full disk ends, and that comes back to it, is no loss.
func TestFillDiskOutlivesItsVictim(t *testing.T) {
	t.Parallel()
	k := lodger(t, disktest.Ext4(t, 64*mib, 0), enginetest.Options{})
	before := available(t, k)
	f := fill(t, `{"path":"/data","percent":1,"keep_full":true}`, k.Target())
	defer mustUndo(t, f, settled)
	lost := f.(fault.Fragile).Lost()
	k.Kill()
	k.WaitFor("down", down)
	k.Start()
	if got := available(t, k); got > mib {
		t.Errorf("got %d MiB available after the restart, want a full disk", got/mib)
	}
	select {
	case err := <-lost:
		t.Errorf("got %v, want that it goes on", err)
	case <-time.After(3 * time.Second): // three looks
	}
	mustUndo(t, f, settled)
	if got := available(t, k); got < before-mib {
		t.Errorf("got %d MiB available, want %d", got/mib, before/mib)
	}
}

// Where nothing can be allocated it is told how far the writing is.
func TestFillDiskWritten(t *testing.T) {
	t.Parallel()
	k := lodger(t, disktest.Ext2(t, 32*mib), enginetest.Options{})
	f, err := prepare(t, "fill_disk", `{"path":"/data","percent":1}`, k.Target())
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	w := world(t)
	w.Tell = func(text string) { told = append(told, text) }
	defer mustUndo(t, f, settled)
	if err := f.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	wantIn(t, "remark", strings.Join(told, "\n"), "cannot allocate", "at 128 MiB/s")
}

// An end of the run does not wait for what is still to be written.
func TestFillDiskCutShort(t *testing.T) {
	t.Parallel()
	k := lodger(t, disktest.Ext2(t, 256*mib), enginetest.Options{})
	before := available(t, k)
	f, err := prepare(t, "fill_disk", `{"path":"/data","percent":1}`, k.Target())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("the run is over")
	w := world(t)
	w.Tell = func(string) { cancel(over) }
	if err := f.Apply(ctx, w); !errors.Is(err, over) {
		t.Errorf("got %v, want cut short", err)
	}
	mustUndo(t, f, fault.Past{})
	if got := available(t, k); got < before-mib {
		t.Errorf("got %d MiB available, want %d", got/mib, before/mib)
	}
}

// unmount takes a mount from process pid, as it would itself.
func unmount(t *testing.T, pid int, path string) {
	t.Helper()
	done := make(chan error)
	var leave func()
	leave = func() {
		runtime.LockOSThread()            // and never unlocked: the thread goes with the namespace it is in
		if unix.Gettid() == os.Getpid() { // which must not be what /proc/self shows
			go leave()
			time.Sleep(time.Millisecond)
			runtime.UnlockOSThread()
			return
		}
		ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Unshare(unix.CLONE_FS)
		}
		if err == nil {
			err = unix.Setns(ns, unix.CLONE_NEWNS)
		}
		if err == nil {
			err = unix.Unmount(path, unix.MNT_DETACH)
		}
		done <- err
	}
	go leave()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

package fault_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/blkiodev"
	"github.com/docker/docker/api/types/container"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/fault/disktest"
	"chaosrunner/runner/agent/enginetest"
)

// ioGroup finds the target's cgroup for disks, without our code.
func ioGroup(t testing.TB, k *enginetest.Container) string {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/blkio/docker/%s", "/sys/fs/cgroup/docker/%s", "/sys/fs/cgroup/system.slice/docker-%s.scope"} {
		dir := fmt.Sprintf(pattern, k.ID)
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	t.Fatal("the target has no cgroup for disks that this test knows of")
	return ""
}

// ioLimits has all of the target's limits.
func ioLimits(t testing.TB, k *enginetest.Container) string {
	t.Helper()
	files, _ := filepath.Glob(ioGroup(t, k) + "/blkio.throttle.*_device")
	var all string
	for _, f := range append(files, ioGroup(t, k)+"/io.max") {
		raw, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all += string(raw)
	}
	return all
}

// writeIn writes to the disk as a process of the target would, and says how long
// that took.
func writeIn(t testing.TB, k *enginetest.Container, file string, mibs int) time.Duration {
	t.Helper()
	began := time.Now()
	dd := exec.Command("sh", "-c", fmt.Sprintf("echo $$ > %s/cgroup.procs && exec dd if=/dev/zero of=%s bs=256k count=%d oflag=direct", ioGroup(t, k), file, 4*mibs))
	if out, err := dd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return time.Since(began)
}

// Throttled, the target is as slow as asked for; undone, the kernel has no limit.
func TestThrottleIO(t *testing.T) {
	t.Parallel()
	disk := disktest.Ext4(t, 64*mib, 0)
	k := lodger(t, disk, enginetest.Options{})
	for _, path := range []string{`"path":"/data",`, ""} {
		f, err := prepare(t, "throttle_io", "{"+path+`"write_bps":1048576,"read_iops":50}`, k.Target())
		if err != nil {
			t.Fatal(err)
		}
		if limits := ioLimits(t, k); limits != "" {
			t.Fatalf("Prepare has set %q", limits)
		}
		defer mustUndo(t, f, settled)
		if err := f.Apply(t.Context(), world(t)); err != nil {
			t.Fatal(err)
		}
		wantIn(t, "limits", ioLimits(t, k), "1048576", "50")
		// A limit can only make it slower, however loaded the machine is.
		if took := writeIn(t, k, disk.Dir+"/file", 4); took < 2500*time.Millisecond {
			t.Errorf("4 MiB at 1 MiB/s took %v", took)
		}
		mustUndo(t, f, settled)
		if limits := ioLimits(t, k); limits != "" {
			t.Errorf("the kernel still has %q", limits)
		}
		var text string
		for _, finding := range f.(fault.Witness).Findings() {
			text += finding.Text + "\n"
		}
		wantIn(t, "findings", text, "the kernel has for disk", "write_bps of", "has the limits that it had")
		mustUndo(t, f, settled)
	}
}

// Whoever reads the ledger undoes it, after a restart too; a limit that somebody
// else has set meanwhile stays.
func TestThrottleIOUndoneByAnother(t *testing.T) {
	t.Parallel()
	k := lodger(t, disktest.Ext4(t, 64*mib, 0), enginetest.Options{})
	throttle := func() fault.Fault {
		f, err := prepare(t, "throttle_io", `{"path":"/data","write_bps":1048576}`, k.Target())
		if err == nil {
			err = f.Apply(t.Context(), world(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := throttle()
	mustUndo(t, reload(t, "throttle_io", f), fault.Past{})
	if limits := ioLimits(t, k); limits != "" {
		t.Errorf("the kernel still has %q", limits)
	}
	mustUndo(t, f, settled)

	f = throttle()
	other := strings.Replace(ioLimits(t, k), "1048576", "4194304", 1)
	if file := ioGroup(t, k) + "/blkio.throttle.write_bps_device"; os.WriteFile(file, []byte(other), 0) == nil {
		mustUndo(t, f, settled)
		if limits := ioLimits(t, k); limits != other {
			t.Errorf("got %q, want the %q that somebody else has set", limits, other)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(other, "4194304", "0", 1)), 0); err != nil {
			t.Fatal(err)
		}
		f = throttle()
	}
	_, err := prepare(t, "throttle_io", `{"path":"/data","write_bps":2097152}`, k.Target())
	if !errors.Is(err, fault.ErrRefused) || !strings.Contains(err.Error(), "another throttle_io") {
		t.Errorf("a second one: got %v, want refused", err)
	}
	lost := f.(fault.Fragile).Lost()
	k.Kill()
	k.WaitFor("down", down)
	select {
	case err := <-lost:
		wantIn(t, "loss", fmt.Sprint(err), "limited no more")
	case <-time.After(time.Minute):
		t.Error("the loss was not noticed for a minute")
	}
	mustUndo(t, reload(t, "throttle_io", f), fault.Past{})
	k.Start()
	mustUndo(t, reload(t, "throttle_io", f), fault.Past{})
	mustUndo(t, f, settled)
}

func TestThrottleIORefuses(t *testing.T) {
	t.Parallel()
	loop := disktest.Ext4(t, 64*mib, 0)
	k := lodger(t, loop, enginetest.Options{Tmpfs: map[string]string{"/tmpfs": "size=1m"}, Binds: []string{disktest.Ext4(t, 64*mib, 0).Dir + ":/second"}})
	for params, want := range map[string]string{
		`"path":"/tmpfs"`:   "no disk of its own",
		`"path":"/nothing"`: "there is no such folder",
		`"path":"/"`:        "/ of " + k.Name,
		`"path":""`:         "2 volumes on disks",
	} {
		_, err := prepare(t, "throttle_io", "{"+params+`,"read_bps":1}`, k.Target())
		if !errors.Is(err, fault.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want refused with %q", params, err, want)
		}
	}
}

// A limit that the container has of its own comes back.
func TestThrottleIOKeepsItsOwn(t *testing.T) {
	t.Parallel()
	disk := disktest.Ext4(t, 64*mib, 0)
	k := lodger(t, disk, enginetest.Options{Limits: container.Resources{
		BlkioDeviceWriteBps: []*blkiodev.ThrottleDevice{{Path: disk.Device, Rate: 8 << 20}},
	}})
	before := ioLimits(t, k)
	f, err := prepare(t, "throttle_io", `{"path":"/data","write_bps":1048576}`, k.Target())
	if err == nil {
		err = f.Apply(t.Context(), world(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	wantIn(t, "limits", ioLimits(t, k), "1048576")
	mustUndo(t, f, settled)
	if got := ioLimits(t, k); got != before || !strings.Contains(got, "8388608") {
		t.Errorf("got %q, want %q", got, before)
	}
}

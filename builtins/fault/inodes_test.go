package fault_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/fault/disktest"
	"chaosrunner/runner/agent/enginetest"
)

// Exhausted, no file can be created though there is room; undone, all can.
func TestExhaustInodes(t *testing.T) {
	for name, disk := range map[string]func(testing.TB) *disktest.Disk{
		"tmpfs": func(t testing.TB) *disktest.Disk { return disktest.Tmpfs(t, 64*mib, "nr_inodes=5000") },
		"ext4":  func(t testing.TB) *disktest.Disk { return disktest.Ext4(t, 64*mib, 0, "-N", "30000") },
		"overlay": func(t testing.TB) *disktest.Disk {
			return disktest.Overlay(t, disktest.Ext4(t, 64*mib, 0, "-N", "2000"))
		},
	} {
		for _, hold := range []string{"auto", "file"} {
			t.Run(name+"/"+hold, func(t *testing.T) {
				t.Parallel()
				d := disk(t)
				k := lodger(t, d, enginetest.Options{})
				before := statfs(t, k, "/data").Ffree
				f, err := prepare(t, "exhaust_inodes", fmt.Sprintf(`{"path":"/data","percent":1,"keep_full":true,"hold":%q}`, hold), k.Target())
				if err != nil {
					t.Fatal(err)
				}
				defer mustUndo(t, f, settled)
				if err := f.Apply(t.Context(), world(t)); err != nil {
					t.Fatal(err)
				}
				if st := statfs(t, k, "/data"); st.Ffree > 0 || int64(st.Bavail)*st.Bsize < 16*mib {
					t.Errorf("got %d inodes free and %d MiB, want none, and room", st.Ffree, int64(st.Bavail)*st.Bsize/mib)
				}
				if err := os.WriteFile(d.Dir+"/victim", nil, 0o600); err == nil {
					t.Error("the victim can create a file")
				}
				if findings := f.(fault.Witness).Findings(); len(findings) != 1 || findings[0].Figures["inodes_free"] != 0 {
					t.Errorf("got %+v", findings)
				}
				mustUndo(t, f, settled)
				if got := statfs(t, k, "/data").Ffree; got < before {
					t.Errorf("got %d inodes free, want %d again", got, before)
				}
				if left := names(t, k); len(left) > 0 {
					t.Errorf("left over: %v", left)
				}
			})
		}
	}
}

// What the victim frees is taken too.
func TestExhaustInodesKeeps(t *testing.T) {
	t.Parallel()
	d := disktest.Tmpfs(t, 16*mib, "nr_inodes=500")
	k := lodger(t, d, enginetest.Options{})
	if err := os.WriteFile(d.Dir+"/victim", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := prepare(t, "exhaust_inodes", `{"path":"/data","percent":1,"keep_full":true}`, k.Target())
	if err == nil {
		err = f.Apply(t.Context(), world(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer mustUndo(t, f, settled)
	if err := os.Remove(d.Dir + "/victim"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the inode that was freed is taken", func() bool { return statfs(t, k, "/data").Ffree == 0 })
}

// The folder is found by whoever reads the ledger.
func TestExhaustInodesUndoneByAnother(t *testing.T) {
	t.Parallel()
	d := disktest.Ext4(t, 64*mib, 0, "-N", "2000")
	k := lodger(t, d, enginetest.Options{})
	f, err := prepare(t, "exhaust_inodes", `{"path":"/data","percent":1,"hold":"file"}`, k.Target())
	if err == nil {
		err = f.Apply(t.Context(), world(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer mustUndo(t, f, settled)
	k.Kill()
	k.WaitFor("down", down)
	mustUndo(t, reload(t, "exhaust_inodes", f), fault.Past{})
	k.Start()
	if left := names(t, k); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestExhaustInodesRefuses(t *testing.T) {
	t.Parallel()
	for want, disk := range map[string]*disktest.Disk{
		"makes inodes as long as there is room": disktest.XFS(t, 320*mib),
		"use fill_disk":                         disktest.Btrfs(t, 200*mib),
		"want at most 2000000":                  disktest.Tmpfs(t, 16*mib, "nr_inodes=3000000"),
		"are used already":                      disktest.Tmpfs(t, 16*mib, "nr_inodes=1"),
	} {
		k := lodger(t, disk, enginetest.Options{})
		_, err := prepare(t, "exhaust_inodes", `{"path":"/data","percent":1}`, k.Target())
		if !errors.Is(err, fault.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want refused with %q", err, want)
		}
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/disktest"
	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/report"
)

// withDisk gives the lab a victim that has a small disk of its own at /data, in
// a folder that is not root's.
func (l *lab) withDisk(t *testing.T) *disktest.Disk {
	d := disktest.Ext4(t, 64<<20, 0)
	if err := os.Chown(d.Dir, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.victim = enginetest.Run(t, enginetest.Options{Network: "bridge", User: "4711", Binds: []string{d.Dir + ":/data"}})
	return d
}

// room is what is free on a disk, and what files of ours are there.
func room(t *testing.T, d *disktest.Disk) (int64, []string) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.Dir, &st); err != nil {
		t.Fatal(err)
	}
	ours, _ := filepath.Glob(d.Dir + "/.runner-*")
	return int64(st.Bavail) * st.Bsize, ours
}

// roomBack waits until a disk is as it was.
func roomBack(t *testing.T, d *disktest.Disk, before int64) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		now, ours := room(t, d)
		if now >= before-1<<20 && len(ours) == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("got %d bytes free and %v, want %d and nothing of ours", now, ours, before)
		}
	}
}

const diskInPlace = `fill_disk is in place`

// What was measured stands in the journal.
func TestFillDiskRun(t *testing.T) {
	for name, make := range map[string]func(*testing.T) *lab{"local": newLab, "container": newBox} {
		t.Run(name, func(t *testing.T) {
			l := make(t)
			d := l.withDisk(t)
			before, _ := room(t, d)
			p := l.start(l.script(l.web,
				fmt.Sprintf(`fill_disk(%q, "/data", percent = "100%%", duration = "1s")`, l.victim.Name),
				`observe("1500ms")`,
				fmt.Sprintf(`fill_disk(%q, "/data", size = "8MiB", hold = "file", duration = "500ms")`, l.victim.Name),
				fmt.Sprintf(`throttle_io(%q, write_bps = "1MiB", duration = "500ms")`, l.victim.Name)))
			p.says(diskInPlace + `.* measured: /data of .* is at 100 %`)
			p.says(`throttle_io is in place`)
			p.exits(0)
			roomBack(t, d, before)
			l.gone()
			r := l.result()
			if r.Verdict != report.Held || len(r.Stuck) != 0 {
				t.Errorf("got %s, stuck %v", r.Verdict, r.Stuck)
			}
			if said := p.out.String(); strings.Count(said, "free again (before the fault:") != 2 {
				t.Error("want that the room is back, measured twice")
			}
		})
	}
}

// Without a name it is gone with the agent; with one, the next agent removes it.
func TestFillDiskAgentKilled(t *testing.T) {
	for _, hold := range []string{"kernel", "file"} {
		t.Run(hold, func(t *testing.T) {
			l := newLab(t)
			d := l.withDisk(t)
			before, _ := room(t, d)
			p := l.start(l.script(l.web, fmt.Sprintf(`fill_disk(%q, "/data", size = "32MiB", hold = %q)`, l.victim.Name, hold), `observe("15s")`))
			p.says(diskInPlace)
			if now, _ := room(t, d); now > before-31<<20 {
				t.Fatalf("got %d bytes free under the fault, of %d", now, before)
			}
			l.signal("agent", syscall.SIGKILL)
			p.exits(5)
			roomBack(t, d, before)
			l.gone()
		})
	}
}

// A disk that the target loses ends the run: it tests nothing any more.
func TestFillDiskLost(t *testing.T) {
	l := newLab(t)
	d := l.withDisk(t)
	p := l.start(l.script(l.web, fmt.Sprintf(`fill_disk(%q, "/data", percent = "100%%")`, l.victim.Name), `observe("15s")`))
	p.says(diskInPlace)
	l.victim.Kill()
	if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil { // what comes up has the folder below
		t.Fatal(err)
	}
	l.victim.Start()
	p.exits(5)
	l.gone()
	if said := p.out.String(); !strings.Contains(said, "harms nobody any more") {
		t.Error("want the reason said")
	}
}

// The disk that is filled to its last byte is the ledger's own: everything is
// still written down, undone and cleaned up, by this agent and by the next one.
func TestFillDiskOfTheLedger(t *testing.T) {
	for _, killed := range []bool{false, true} {
		for _, hold := range []string{"kernel", "file"} {
			t.Run(fmt.Sprintf("%s, killed %v", hold, killed), func(t *testing.T) {
				l := newLab(t)
				d := l.withDisk(t)
				if err := os.Symlink(d.Dir, l.state()); err != nil {
					t.Fatal(err)
				}
				before, _ := room(t, d)
				method := []string{fmt.Sprintf(`fill_disk(%q, "/data", percent = "100%%", hold = %q, duration = "1s")`, l.victim.Name, hold), `observe("1500ms")`}
				if killed {
					method = []string{fmt.Sprintf(`fill_disk(%q, "/data", percent = "100%%", hold = %q)`, l.victim.Name, hold), `observe("15s")`}
				}
				p := l.start(l.script(l.web, method...))
				p.says(diskInPlace)
				if killed {
					l.signal("agent", syscall.SIGKILL)
					p.exits(5)
				} else {
					p.exits(0)
				}
				roomBack(t, d, before)
				l.gone()
				if r := l.result(); len(r.Stuck) != 0 {
					t.Errorf("stuck: %v", r.Stuck)
				}
			})
		}
	}
}

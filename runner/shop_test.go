package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/runner/agent/enginetest"
)

// TestExperiment1Endings ends experiment 1 against the real shop in every way
// and asks the engine whether catalog runs and is healthy. It has the shop for
// itself, so its cases run one after another.
func TestExperiment1Endings(t *testing.T) {
	if os.Getenv("SHOP_URL") == "" {
		t.Skip("SHOP_URL is not set: this test needs the shop running (make shop-up), and kills its catalog")
	}
	script, err := filepath.Abs("../experiments/exp1.star")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		end  func(*lab)
		exit int // of the supervisor; -1 where a signal ends it
	}{
		{"ctrl-c", func(l *lab) { l.signal("supervisor", syscall.SIGINT) }, 130},
		{"supervisor killed", func(l *lab) { l.signal("supervisor", syscall.SIGKILL) }, -1},
		{"supervisor stopped", func(l *lab) {
			l.signal("supervisor", syscall.SIGSTOP)
			l.back()
			l.signal("supervisor", syscall.SIGCONT)
		}, 5},
		// Its method() is over by then, and the fault's duration is the
		// supervisor's business: the run goes on to its verdict. TestWorkerKilled
		// has the death in the middle of a method.
		{"worker stopped and killed", func(l *lab) {
			l.signal("worker", syscall.SIGSTOP)
			l.signal("worker", syscall.SIGKILL)
		}, 0},
		{"agent killed", func(l *lab) { l.signal("agent", syscall.SIGKILL) }, 5},
		{"agent stopped", func(l *lab) { l.signal("agent", syscall.SIGSTOP) }, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lab{t: t, dir: t.TempDir(), victim: enginetest.Service(t, "shop", "catalog")}
			l.back()
			p := l.start("--project", "shop", script)
			p.says(inPlace)
			l.down()
			c.end(l)
			p.exits(c.exit)
			l.back()
			l.gone()
			l.once(0, "recover")
		})
	}
}

// TestExperiment3Endings ends experiment 3 while PostgreSQL's disk is full, and
// asks the file system, from outside, whether its room is back.
func TestExperiment3Endings(t *testing.T) {
	if os.Getenv("SHOP_URL") == "" {
		t.Skip("SHOP_URL is not set: this test needs the shop running (make shop-up), and fills its PostgreSQL's disk")
	}
	if os.Geteuid() != 0 {
		t.Skip("to look at a container's disk from outside takes root")
	}
	script, err := filepath.Abs("../experiments/exp3.star")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		end  func(*lab)
		exit int
	}{
		{"ctrl-c", func(l *lab) { l.signal("supervisor", syscall.SIGINT) }, 130},
		{"supervisor killed", func(l *lab) { l.signal("supervisor", syscall.SIGKILL) }, -1},
		{"agent killed", func(l *lab) { l.signal("agent", syscall.SIGKILL) }, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lab{t: t, dir: t.TempDir(), victim: enginetest.Service(t, "shop", "postgres")}
			l.back()
			before := l.room()
			p := l.start("--project", "shop", script)
			p.says(`fill_disk is in place`)
			if left := l.room(); left > before/10 {
				t.Errorf("%d of %d bytes are free: the test is not about a fault", left, before)
			}
			c.end(l)
			p.exits(c.exit)
			l.gone()
			// The file system gives room back with its next commit, and orders take some.
			for until := time.Now().Add(60 * time.Second); l.room() < before-before/4; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(until) {
					t.Fatalf("%d of %d bytes are free again", l.room(), before)
				}
			}
			l.back()
			l.once(0, "recover")
		})
	}
}

// room is what a service that is not root can still write to the orders' disk.
func (l *lab) room() uint64 {
	l.t.Helper()
	var st unix.Statfs_t
	path := fmt.Sprintf("/proc/%d/root/var/lib/postgresql/data", l.victim.Target().PID)
	if err := unix.Statfs(path, &st); err != nil {
		l.t.Fatal(err)
	}
	return st.Bavail * uint64(st.Bsize)
}

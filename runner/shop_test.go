package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

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

package crash

import (
	"fmt"
	"os/exec"
	"testing"

	"chaosrunner/builtins/fault/disktest"
	"chaosrunner/runner/agent/enginetest"
)

// A row is one kind of fault in the sweep. A new kind is a row here, and a look
// in looks_test.go where it harms what none of them sees.
type row struct {
	kind string // what the plan and the table call it
	// inject is what a script says to have it, as an expression. Both targets
	// lie in the blast radius, so that one can be the other's peer.
	inject func(target, peer string) string
	wired  bool // its targets need a network
	once   bool // it does not last, and takes no duration
	// kernel: it goes with its agent. Where that is dead it must be gone before
	// anybody has healed anything.
	kernel bool
	// sick: it stops the health check, and its undo does not wait until that has
	// passed again.
	sick bool
	// missing says what this machine lacks for it; empty where it has all.
	missing func() string
}

// rows has every kind of fault there is.
var rows = []row{
	{kind: "kill", inject: simply("kill")},
	// A kill that leaves the restart policy to act: the first target of a trial
	// has none, the second is always restarted.
	{kind: "crash", inject: func(target, _ string) string { return fmt.Sprintf("kill(%q, stays_down = False)", target) }},
	{kind: "stop", inject: graceful("stop")},
	{kind: "pause", inject: simply("pause"), sick: true},
	{kind: "restart", inject: graceful("restart"), once: true},
	{kind: "exec", inject: func(target, _ string) string {
		return fmt.Sprintf(`exec(%q, ["/app", "touch", %[2]q], undo = ["/app", "remove", %[2]q])`, target, dataDir+"/exec")
	}},
	// Their peers are networks: a peer that the other fault has killed has no
	// address to be named by.
	{kind: "netem", wired: true, kernel: true, inject: func(target, _ string) string {
		return fmt.Sprintf(`netem(%q, delay = "100ms", loss = "5%%", peers = "172.16.0.0/12", direction = "both")`, target)
	}},
	{kind: "partition", wired: true, kernel: true, inject: func(target, _ string) string {
		return fmt.Sprintf(`partition(%q, "172.16.0.0/12")`, target)
	}},
	// On the target's own /data: without a name, which the kernel frees with the
	// agent; and with one, which the ledger has.
	{kind: "fill_disk", kernel: true, inject: func(target, _ string) string {
		return fmt.Sprintf(`fill_disk(%q, %q, percent = "100%%")`, target, dataDir)
	}},
	{kind: "fill_disk file", inject: func(target, _ string) string {
		return fmt.Sprintf(`fill_disk(%q, %q, size = "4MiB", hold = "file")`, target, dataDir)
	}},
	{kind: "exhaust_inodes", kernel: true, inject: func(target, _ string) string {
		return fmt.Sprintf(`exhaust_inodes(%q, %q)`, target, dataDir)
	}},
	{kind: "throttle_io", missing: noDisk, inject: func(target, _ string) string {
		return fmt.Sprintf(`throttle_io(%q, path = %q, write_bps = "1MiB", read_iops = 100)`, target, diskDir)
	}},
}

func simply(builtin string) func(target, peer string) string {
	return func(target, _ string) string { return fmt.Sprintf("%s(%q)", builtin, target) }
}

func graceful(builtin string) func(target, peer string) string {
	return func(target, _ string) string { return fmt.Sprintf(`%s(%q, grace = "1s")`, builtin, target) }
}

// possible has the rows that this machine can have, and says what it lacks for
// the others.
func possible() (able []row, lacks []string) {
	for _, r := range rows {
		if r.missing != nil {
			if why := r.missing(); why != "" {
				lacks = append(lacks, r.kind+": "+why)
				continue
			}
		}
		able = append(able, r)
	}
	return able, lacks
}

// options are those of a trial's target: what every fault finds there to harm.
func options(t testing.TB, wired bool) enginetest.Options {
	o := enginetest.Options{
		Env:   []string{"TERM_MODE=exit"},
		Tmpfs: map[string]string{dataDir: "size=8m,nr_inodes=2000"},
	}
	if wired {
		o.Network = "bridge"
	}
	if noDisk() == "" {
		o.Binds = []string{disktest.Ext4(t, 8<<20, 0).Dir + ":" + diskDir}
	}
	return o
}

// noDisk says what this machine lacks to give a target a disk.
func noDisk() string {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return "there is no mkfs.ext4"
	}
	return ""
}

// diskDir is a disk of a target's own.
const diskDir = "/disk"

// dataDir is a small file system of a target's own.
const dataDir = "/data"

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"chaosrunner/builtins/fault/proc"
	"chaosrunner/runner/agent/ledger"
)

// self names this process so that a later one can tell it from a stranger with
// the same number.
func self() ledger.Process {
	own, _ := proc.Stat(os.Getpid())
	return ledger.Process{PID: os.Getpid(), Start: own.Start, Boot: proc.Boot(), PIDNS: pidNamespace()}
}

// running says whether p runs here, now.
func running(p ledger.Process) error {
	if p.PID <= 0 || p.Boot != proc.Boot() {
		return fmt.Errorf("its process belongs to another host, or to before the reboot")
	}
	if p.PIDNS != pidNamespace() {
		return fmt.Errorf("its process %d lives in another PID namespace (a container?): end it there", p.PID)
	}
	st, err := proc.Stat(p.PID)
	if err != nil {
		return fmt.Errorf("its process is gone: %w", err)
	}
	if st.State == 'Z' || st.State == 'X' { // nobody has reaped it yet
		return fmt.Errorf("its process %d has ended", p.PID)
	}
	if st.Start != p.Start {
		return fmt.Errorf("process %d is another one by now", p.PID)
	}
	return nil
}

// holds says whether process pid has the file at path open.
func holds(pid int, path string) bool {
	want, err := os.Stat(path)
	if err != nil {
		return false
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, _ := os.ReadDir(dir)
	for _, fd := range fds {
		if info, err := os.Stat(dir + "/" + fd.Name()); err == nil && os.SameFile(info, want) {
			return true
		}
	}
	return false
}

// locker finds the process that has the flock of the file at path: another of
// this program than the one that asks. 0 if none is seen.
func locker(path string) int {
	want, err := os.Stat(path)
	if err != nil {
		return 0
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		info, err := os.Stat(fd)
		if err != nil || !os.SameFile(info, want) {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		locks, err := os.ReadFile(filepath.Join(dir, "fdinfo", filepath.Base(fd)))
		if err != nil || !flocked.Match(locks) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && pid != os.Getpid() && comm(dir) == comm("/proc/self") {
			return pid
		}
	}
	return 0
}

// flocked is what /proc/PID/fdinfo/FD says of one that has the lock alone.
var flocked = regexp.MustCompile(`(?m)^lock:.*\bFLOCK\s+ADVISORY\s+WRITE\b`)

func comm(dir string) string {
	name, _ := os.ReadFile(dir + "/comm")
	return string(name)
}

// frozen says whether process pid is stopped: it will not act on a SIGTERM.
func frozen(pid int) bool {
	st, err := proc.Stat(pid)
	return err == nil && st.Stopped()
}

func pidNamespace() string {
	ns, _ := os.Readlink("/proc/self/ns/pid")
	return ns
}

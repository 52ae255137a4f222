package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"chaosrunner/runner/agent/ledger"
)

// self names this process so that a later one can tell it from a stranger with
// the same number.
func self() ledger.Process {
	start, _, _ := stat(os.Getpid())
	return ledger.Process{PID: os.Getpid(), Start: start, Boot: bootID(), PIDNS: pidNamespace()}
}

// running says whether p runs here, now.
func running(p ledger.Process) error {
	if p.PID <= 0 || p.Boot != bootID() {
		return fmt.Errorf("its process belongs to another host, or to before the reboot")
	}
	if p.PIDNS != pidNamespace() {
		return fmt.Errorf("its process %d lives in another PID namespace (a container?): end it there", p.PID)
	}
	start, state, err := stat(p.PID)
	if err != nil {
		return fmt.Errorf("its process %d is gone: %w", p.PID, err)
	}
	if state == 'Z' || state == 'X' { // nobody has reaped it yet
		return fmt.Errorf("its process %d has ended", p.PID)
	}
	if start != p.Start {
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

func comm(proc string) string {
	name, _ := os.ReadFile(proc + "/comm")
	return string(name)
}

// frozen says whether process pid is stopped: it will not act on a SIGTERM.
func frozen(pid int) bool {
	_, state, err := stat(pid)
	return err == nil && (state == 'T' || state == 't')
}

// stat reads when a process started, in ticks since boot, and its state.
func stat(pid int) (start uint64, state byte, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	after := raw[bytes.LastIndexByte(raw, ')')+1:] // the name may contain anything
	fields := strings.Fields(string(after))
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}

func pidNamespace() string {
	ns, _ := os.Readlink("/proc/self/ns/pid")
	return ns
}

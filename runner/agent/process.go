package agent

import (
	"bytes"
	"fmt"
	"os"
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
	start, _, err := stat(p.PID)
	if err != nil {
		return fmt.Errorf("its process %d is gone: %w", p.PID, err)
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

// Package proc reads what tells one process from another that has its number.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Status is what the kernel says of a process in one line.
type Status struct {
	State  byte   // 'R', 'S', 'T' stopped, 't' traced, …
	Parent int    // 0: none
	Start  uint64 // ticks since boot
}

// Stopped says whether a signal has stopped it, or whoever traces it.
func (s Status) Stopped() bool { return s.State == 'T' || s.State == 't' }

// Stat reads a process's status. The error says mostly that it has ended.
func Stat(pid int) (Status, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Status{}, fmt.Errorf("process %d: %w", pid, err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:])) // the name may contain anything
	if len(fields) < 20 {
		return Status{}, fmt.Errorf("process %d: its status has %d fields", pid, len(fields))
	}
	parent, err1 := strconv.Atoi(fields[1])
	start, err2 := strconv.ParseUint(fields[19], 10, 64)
	return Status{State: fields[0][0], Parent: parent, Start: start}, errors.Join(err1, err2)
}

// Boot names the host's boot: process numbers and inodes of namespaces mean
// nothing after another.
func Boot() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(raw))
}

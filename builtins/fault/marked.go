package fault

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// marked has the processes with a token in their environment: what an exec
// began, and all that came of it, unless that cleared its environment.
func marked(token string) ([]int, error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && bearsMark(pid, token) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func bearsMark(pid int, token string) bool {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil { // it has ended, or is none of ours
		return false
	}
	return bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+execMark+token+"\x00"))
}

// killMarked kills them until none is left: one may have had a child meanwhile.
func killMarked(token string) error {
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pids, err := marked(token)
		if err != nil || len(pids) == 0 {
			return err
		}
		var errs []error
		for _, pid := range pids {
			errs = append(errs, killIf(pid, func() bool { return bearsMark(pid, token) }))
		}
		if time.Now().After(until) {
			return errors.Join(append(errs, fmt.Errorf("exec: processes %v do not end", pids))...)
		}
	}
}

// killIf kills a process that is, once it is held, still the one that was meant.
func killIf(pid int, meant func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("exec: process %d: %w", pid, err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written to it
	if !meant() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("exec: kill process %d: %w", pid, err)
	}
	return nil
}

package crash

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// childOf finds the child of a process that runs the subcommand; 0 if there is
// none.
func childOf(pid int, subcommand string) int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		raw, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(raw)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			if runs(child, subcommand) {
				return child
			}
		}
	}
	return 0
}

// alive says whether a process is there and no zombie.
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(raw), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// A trial marks its processes by where they would meet it.
func mark(id string) string { return "/" + id + ".door" }

// cast are the processes of a trial that live: those that carry its mark, and
// those that one of its supervisors has shut in a cage.
func cast(id string, supervisors []int) (pids []int) {
	var cages [][]byte
	for _, pid := range supervisors {
		cages = append(cages, fmt.Appendf(nil, "CHAOS_CAGE_PARENT=%d", pid))
	}
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(raw, []byte{0}) {
			marked := bytes.HasPrefix(v, []byte("RUNNER_FAILPOINT=")) && bytes.Contains(v, []byte(mark(id)))
			if marked || slices.ContainsFunc(cages, func(w []byte) bool { return bytes.Equal(v, w) }) {
				pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
				if alive(pid) {
					pids = append(pids, pid)
				}
				break
			}
		}
	}
	return pids
}

// agentOf finds the newest agent of a trial, wherever it runs; 0 if there is
// none.
func agentOf(id string) (newest int) {
	var began uint64
	for _, pid := range cast(id, nil) {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(raw), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 20 || !runs(pid, "agent") {
			continue
		}
		if at, err := strconv.ParseUint(fields[19], 10, 64); err == nil && at >= began {
			newest, began = pid, at
		}
	}
	return newest
}

// runs says whether a process is a runner with that subcommand.
func runs(pid int, subcommand string) bool {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(line), "\x00")
	return len(args) > 1 && args[1] == subcommand
}

// prey is a process that can be struck, whatever becomes of its number.
type prey struct{ pid, fd int }

// hold is nil for a process that is not there.
func hold(pid int) *prey {
	if pid <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	return &prey{pid, fd}
}

// signal sends to a process that may be gone.
func (p *prey) signal(s unix.Signal) {
	if p != nil {
		_ = unix.PidfdSendSignal(p.fd, s, nil, 0)
	}
}

func (p *prey) alive() bool { return p != nil && alive(p.pid) }

func (p *prey) close() {
	if p != nil {
		_ = unix.Close(p.fd) // nothing was written to it
	}
}

// starve lets a process run for a hundredth of the time, until it is over.
func (p *prey) starve(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		p.signal(unix.SIGSTOP)
		time.Sleep(250 * time.Millisecond)
		p.signal(unix.SIGCONT)
		time.Sleep(2500 * time.Microsecond)
	}
}

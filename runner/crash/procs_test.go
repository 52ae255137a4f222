//go:build crash

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
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
			if args := strings.Split(string(line), "\x00"); len(args) > 1 && args[1] == subcommand {
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

const mark = "RUNNER_CRASH_TRIAL="

// leftovers are the processes of a trial that live: those that carry its mark,
// and those that one of its supervisors has shut in a cage.
func leftovers(id string, supervisors []int) (pids []int) {
	want := [][]byte{[]byte(mark + id)}
	for _, pid := range supervisors {
		want = append(want, fmt.Appendf(nil, "CHAOS_CAGE_PARENT=%d", pid))
	}
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(raw, []byte{0}) {
			if slices.ContainsFunc(want, func(w []byte) bool { return bytes.Equal(v, w) }) {
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

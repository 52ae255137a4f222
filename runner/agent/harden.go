package agent

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// harden makes this process one of the last that the kernel ends or starves,
// as far as it is allowed to. A refusal is no error: the agent works without.
func harden() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0)
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks { // a nice value belongs to a thread; later threads inherit it
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -10)
		}
	}
}

// Package failpoint lets a crash test end the agent at one step of its work.
// It does nothing unless RUNNER_FAILPOINT is set, as "after-intent:kill".
package failpoint

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var at, how, _ = strings.Cut(os.Getenv("RUNNER_FAILPOINT"), ":")

// Hit is a step's boundary: "kill" ends the process there, "stop" freezes it,
// "hang" blocks the caller for good, "wait" for a second, "panic" panics.
func Hit(step string) {
	if at == "" || step != at {
		return
	}
	switch how {
	case "kill":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {} // until it has come
	case "stop":
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	case "hang":
		select {}
	case "wait":
		time.Sleep(time.Second)
	case "panic":
		panic("failpoint " + step)
	}
}

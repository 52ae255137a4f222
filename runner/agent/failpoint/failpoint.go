// Package failpoint lets a crash test act at one step of a process's work.
// It does nothing unless RUNNER_FAILPOINT is set, as "after-intent:kill", or as
// "after-intent,before-undo:meet:/tmp/x.sock".
package failpoint

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	at, rest, _     = strings.Cut(os.Getenv("RUNNER_FAILPOINT"), ":")
	how, address, _ = strings.Cut(rest, ":")
	steps           = strings.Split(at, ",")
)

// Hit is a step's boundary: "kill" ends the process there, "stop" freezes it,
// "hang" blocks the caller for good, "wait" for a second, "panic" panics. With
// "meet" the caller tells the Unix socket at the address where it stands and
// waits for an answer, or for nobody to be there: the test does the rest.
func Hit(step string) {
	if at == "" || !slices.Contains(steps, step) {
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
	case "meet":
		meet(step)
	}
}

func meet(step string) {
	c, err := net.Dial("unix", address)
	if err != nil {
		return // the test has seen enough
	}
	defer c.Close() //nolint:errcheck // nothing waits to be written
	if _, err := fmt.Fprintf(c, "%s %d\n", step, os.Getpid()); err == nil {
		_, _ = c.Read(make([]byte, 1)) // an answer, or its end
	}
}

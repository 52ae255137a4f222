package cage

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cause is the kind of a Death.
type Cause string

// The causes of death.
const (
	Exited        Cause = "exited" // by itself; see Code
	OutOfMemory   Cause = "out of memory"
	StackOverflow Cause = "stack overflow"
	Crashed       Cause = "crashed"   // a panic or another fatal error
	Forbidden     Cause = "forbidden" // a system call that seccomp answers with death
	Signaled      Cause = "signaled"  // see Signal
	Lost          Cause = "lost"      // its status went to another: nothing is known
)

// Death says why a child ended.
type Death struct {
	Cause  Cause
	Code   int            // its exit code; -1 if a signal ended it
	Signal syscall.Signal // that ended it; 0 if none did
	Detail string         // the line in which it said why, if it did
	Memory int64          // its limit, in bytes
	Stderr string         // at most 16 KiB: the end, or from the cause of death on
}

// String says it in words that end a sentence about the worker.
func (d Death) String() string {
	switch d.Cause {
	case OutOfMemory:
		return fmt.Sprintf("ran out of memory (limit %s)", size(d.Memory))
	case StackOverflow:
		return fmt.Sprintf("stack overflow (limit %s)", size(int64(maxStack(d.Memory))))
	case Crashed:
		return "crashed: " + d.Detail
	case Forbidden:
		return "killed by signal SIGSYS: it made a forbidden system call"
	case Signaled:
		return "killed by signal " + signalName(d.Signal)
	case Lost:
		return "ended, nobody knows how: " + d.Detail
	}
	return fmt.Sprintf("exit code %d", d.Code)
}

// ending is what is known of a process that has ended.
type ending struct {
	state  *os.ProcessState // nil: another has reaped it
	err    error            // of waiting for it
	stderr string
	cut    bool // killed by us, in the middle of its last words
}

// classify finds the cause in how the process ended and in its last words.
// What a process says of itself is believed only where its ending agrees:
// Go's fatal errors exit with code 2, C's abort.
func classify(e ending, memory int64) Death {
	d := Death{Code: -1, Memory: memory, Stderr: e.stderr}
	if e.state == nil {
		d.Cause, d.Detail = Lost, fmt.Sprint(e.err)
		return d
	}
	d.Code = e.state.ExitCode()
	if status, ok := e.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		d.Signal = status.Signal()
	}
	d.Cause = Exited
	switch {
	case d.Signal == syscall.SIGSYS:
		d.Cause = Forbidden
	case d.Signal != 0:
		d.Cause = Signaled
	}
	if d.Code == 2 || d.Code == raceCode || d.Signal == syscall.SIGABRT || (e.cut && d.Signal == syscall.SIGKILL) {
		if cause, detail := spoken(e.stderr); cause != "" {
			d.Cause, d.Detail = cause, detail
		}
	}
	return d
}

// raceCode is what the race detector's C side exits with.
const raceCode = 66

// noMemory stands in the lines in which Go says that memory ran out: the heap's,
// a stack's, the runtime's own, a thread's.
var noMemory = []string{
	"out of memory", "cannot allocate", "failed to reserve",
	"failed to create new OS thread", "pthread_create failed", "failed to allocate",
}

// nilInRuntime is Go's runtime using memory that it asked for and did not get:
// the collector's span queues do not look (go1.26, newSpanSPMC). Code outside
// the runtime panics instead.
var nilInRuntime = regexp.MustCompile(`^(?:` +
	`SIG(?:SEGV|BUS): [^\n]*\n[^\n]* addr=0x[0-9a-f]{1,3}\n\ngoroutine 0 [^\n]*\nruntime\.` + `|` +
	`fatal error: unexpected signal during runtime execution\n\[signal SIG(?:SEGV|BUS)[^\n]* addr=0x[0-9a-f]{1,3} ` + `)`)

// spoken reads the cause from a process's last words: the first line that says
// it counts. A panic's text may be anyone's, so nothing is read into it.
func spoken(stderr string) (Cause, string) {
	for text := stderr; text != ""; {
		line, rest, _ := strings.Cut(text, "\n")
		line = strings.TrimRight(line, "\r")
		switch {
		case !startsDying([]byte(line)):
		case strings.HasPrefix(line, "panic: "):
			return Crashed, line
		case strings.Contains(line, "stack overflow"), strings.Contains(line, "goroutine stack exceeds"):
			return StackOverflow, line
		case containsAny(line, noMemory), nilInRuntime.MatchString(text):
			return OutOfMemory, line
		case !strings.HasPrefix(line, "runtime: "): // which only leads up to the fatal error
			return Crashed, line
		}
		text = rest
	}
	return "", ""
}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("%d", int(sig))
}

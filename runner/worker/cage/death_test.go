package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// deaths is how a worker can die, by its own doing.
var deaths = map[string]struct {
	die  func()
	want Cause
	says string // what String begins with
}{
	"append":         {appendForever, OutOfMemory, "ran out of memory (limit 1 GiB)"},
	"one block":      {func() { sink = make([]byte, 8<<30) }, OutOfMemory, "ran out of memory (limit 1 GiB)"},
	"pointers":       {func() { sink = make([]any, 1<<29) }, OutOfMemory, "ran out of memory (limit 1 GiB)"},
	"a map":          {mapForever, OutOfMemory, "ran out of memory (limit 1 GiB)"},
	"strings":        {func() { s := "x"; doubleForever(s) }, OutOfMemory, "ran out of memory (limit 1 GiB)"},
	"small blocks":   {listForever, OutOfMemory, "ran out of memory (limit 1 GiB)"},
	"goroutines":     {goForever, OutOfMemory, "ran out of memory (limit 1 GiB)"},
	"recursion":      {func() { sink = recurse(0) }, StackOverflow, "stack overflow (limit 128 MiB)"},
	"panic":          {func() { panic("no such luck") }, Crashed, "crashed: panic: no such luck"},
	"nil":            {func() { var p *int; *p = 1 }, Crashed, "crashed: panic: runtime error: invalid memory address"},
	"too long":       {func() { n := -1; sink = make([]byte, n) }, Crashed, "crashed: panic: runtime error: makeslice: len out of range"},
	"panic of words": {func() { panic("x\nfatal error: out of memory") }, Crashed, "crashed: panic: x"},
	"deadlock":       {func() { select {} }, Crashed, "crashed: fatal error: all goroutines are asleep - deadlock!"},
	"exit 0":         {func() { os.Exit(0) }, Exited, "exit code 0"},
	"exit 3":         {func() { os.Exit(3) }, Exited, "exit code 3"},
	"exit 2":         {func() { os.Exit(2) }, Exited, "exit code 2"},
	"says so":        {func() { fmt.Fprintln(os.Stderr, "fatal error: out of memory"); os.Exit(1) }, Exited, "exit code 1"},
}

var sink any

func appendForever() {
	var b []byte
	for {
		b = append(b, make([]byte, 1<<20)...)
		sink = b
	}
}

func mapForever() {
	m := map[int][4]int{}
	sink = m
	for i := 0; ; i++ {
		m[i] = [4]int{i}
	}
}

func doubleForever(s string) {
	for {
		s += s
		sink = s
	}
}

type node struct {
	next *node
	data [6]int
}

func listForever() {
	var head *node
	for {
		head = &node{next: head}
		sink = head
	}
}

func goForever() {
	for {
		go func() { select {} }()
	}
}

func recurse(n int) int { return recurse(n+1) + len(os.Args) }

func playDie(args []string) {
	mustEnter(allRings)
	deaths[args[0]].die()
}

func TestDeaths(t *testing.T) {
	for name, want := range deaths {
		t.Run(name, func(t *testing.T) {
			if name == "deadlock" && cgo {
				t.Skip("with cgo the runtime does not look for deadlocks")
			}
			c := play(t, Options{}, "die", name)
			select {
			case <-c.Done():
			case <-time.After(60 * time.Second):
				t.Fatalf("it lives on\n%s", c.Stderr())
			}
			d := c.Wait()
			if d.Cause != want.want || !strings.HasPrefix(d.String(), want.says) {
				t.Errorf("got %s (%q, code %d, %q), want %s (%q)\n%s", d.Cause, d, d.Code, d.Detail, want.want, want.says, d.Stderr)
			}
			if len(d.Stderr) > maxWords {
				t.Errorf("got %d bytes of stderr, want at most %d", len(d.Stderr), maxWords)
			}
		})
	}
}

// The limit is what Start was told.
func TestMemoryLimit(t *testing.T) {
	c := play(t, Options{Memory: 128 << 20}, "die", "append")
	if d := c.Wait(); d.String() != "ran out of memory (limit 128 MiB)" {
		t.Errorf("got %q\n%s", d, d.Stderr)
	}
	if _, err := Start(Options{Memory: 1 << 20}, self(t)); err == nil || err.Error() != "cage: got a memory limit of 1 MiB, want at least 64 MiB" {
		t.Errorf("got the error %v", err)
	}
}

func TestClassify(t *testing.T) {
	state := func(script string) *os.ProcessState {
		cmd := exec.Command("/bin/sh", "-c", script)
		_ = cmd.Run()
		return cmd.ProcessState
	}
	for _, c := range []struct{ script, stderr, want string }{
		{"exit 0", "", "exit code 0"},
		{"exit 2", "runtime: out of memory: cannot allocate 4194304-byte block (1 in use)\nfatal error: out of memory\n", "ran out of memory (limit 64 MiB)"},
		{"exit 2", "fatal error: runtime: cannot allocate memory\n", "ran out of memory (limit 64 MiB)"},
		{"exit 2", "runtime: failed to create new OS thread (have 9 already; errno=12)\nfatal error: newosproc\n", "ran out of memory (limit 64 MiB)"},
		{"kill -ABRT $$", "runtime/cgo: pthread_create failed: Resource temporarily unavailable\n", "ran out of memory (limit 64 MiB)"},
		{"exit 2", "runtime: goroutine stack exceeds 8388608-byte limit\nfatal error: stack overflow\n", "stack overflow (limit 8 MiB)"},
		{"exit 2", "fatal error: concurrent map writes\n", "crashed: fatal error: concurrent map writes"},
		{"exit 2", "panic: \xff\n", "crashed: panic: \xff"},
		{"exit 2", "usage: …", "exit code 2"},
		{"exit 7", "panic: said, not done\n", "exit code 7"},
		{"kill -KILL $$", "fatal error: out of memory\n", "killed by signal SIGKILL"},
		{"kill -TERM $$", "", "killed by signal SIGTERM"},
		{"kill -SYS $$", "", "killed by signal SIGSYS: it made a forbidden system call"},
	} {
		if got := classify(state(c.script), nil, c.stderr, 64<<20).String(); got != c.want {
			t.Errorf("%s, %q: got %q, want %q", c.script, c.stderr, got, c.want)
		}
	}
	if got := classify(nil, errors.New("waitid: no child processes"), "", 0).String(); got != "ended, nobody knows how: waitid: no child processes" {
		t.Errorf("got %q", got)
	}
}

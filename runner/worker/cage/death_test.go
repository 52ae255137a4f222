package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// deaths is how a worker can die, by its own doing.
var deaths = map[string]struct {
	die    func()
	memory int64 // its limit; 0: the default
	says   string
}{
	"append":         {appendForever, 0, "ran out of memory (limit 1 GiB)"},
	"one block":      {func() { sink = make([]byte, 8<<30) }, 0, "ran out of memory (limit 1 GiB)"},
	"pointers":       {func() { sink = make([]any, 1<<29) }, 0, "ran out of memory (limit 1 GiB)"},
	"a map":          {mapForever, smallLimit, "ran out of memory (limit 192 MiB)"},
	"strings":        {doubleForever, smallLimit, "ran out of memory (limit 192 MiB)"},
	"small blocks":   {listForever, smallLimit, "ran out of memory (limit 192 MiB)"},
	"goroutines":     {goForever, smallLimit, "ran out of memory (limit 192 MiB)"},
	"recursion":      {func() { sink = recurse(0) }, 0, "stack overflow (limit 128 MiB)"},
	"panic":          {func() { panic("no such luck") }, 0, "crashed: panic: no such luck"},
	"nil":            {func() { var p *int; *p = 1 }, 0, "crashed: panic: runtime error: invalid memory address or nil pointer dereference"},
	"too long":       {func() { n := -1; sink = make([]byte, n) }, 0, "crashed: panic: runtime error: makeslice: len out of range"},
	"panic of words": {func() { panic("x\nfatal error: out of memory") }, 0, "crashed: panic: x"},
	"deadlock":       {func() { select {} }, 0, "crashed: fatal error: all goroutines are asleep - deadlock!"},
	"exit 0":         {func() { os.Exit(0) }, 0, "exit code 0"},
	"exit 3":         {func() { os.Exit(3) }, 0, "exit code 3"},
	"exit 2":         {func() { os.Exit(2) }, 0, "exit code 2"},
	"endless words":  {speakForever, 0, "ran out of memory (limit 1 GiB)"},
	"says so":        {func() { fmt.Fprintln(os.Stderr, "fatal error: out of memory"); os.Exit(1) }, 0, "exit code 1"},
}

const smallLimit = 192 << 20 // more than a worker needs, and quick to fill

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

func doubleForever() {
	for s := "x"; ; {
		s += s
		sink = s
	}
}

type node struct {
	next *node
	_    [6]int
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

// speakForever dies as a process with very many goroutines does.
func speakForever() {
	fmt.Fprintln(os.Stderr, "fatal error: out of memory")
	for i := 0; ; i++ {
		fmt.Fprintf(os.Stderr, "\ngoroutine %d [select (no cases)]:\n", i)
	}
}

//lint:ignore SA5007 the stack overflow is the point
func recurse(n int) int { return recurse(n+1) + len(os.Args) }

func playDie(args []string) {
	mustEnter(allRings)
	deaths[args[0]].die()
}

func TestDeaths(t *testing.T) {
	for name, want := range deaths {
		t.Run(name, func(t *testing.T) {
			if name == "deadlock" && cgoBuild {
				t.Skip("with cgo, Go's runtime does not look for deadlocks")
			}
			if name == "recursion" && raceBuild {
				t.Skip("the race detector's own memory for a stack that grows runs out first")
			}
			c := play(t, Options{Memory: want.memory}, "die", name)
			var d Death
			within(t, "its death", func() { d = c.Wait() })
			if got := d.String(); got != want.says {
				t.Errorf("got %q (%q, code %d, %q), want %q\n%s", got, d.Cause, d.Code, d.Detail, want.says, d.Stderr)
			}
			if name == "recursion" && !strings.Contains(d.Detail, "exceeds 134217728-byte limit") {
				t.Errorf("got the detail %q", d.Detail)
			}
			if len(d.Stderr) > maxWords {
				t.Errorf("got %d bytes of stderr, want at most %d", len(d.Stderr), maxWords)
			}
		})
	}
}

// The limit is what Start was told.
func TestMemoryLimit(t *testing.T) {
	c := play(t, Options{Memory: smallLimit}, "die", "append")
	if d := c.Wait(); d.String() != "ran out of memory (limit 192 MiB)" {
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
		{"exit 2", "SIGSEGV: segmentation violation\nPC=0x435d9d m=0 sigcode=1 addr=0x0\n\ngoroutine 0 gp=0x8c56a0 m=0 mp=0x8c66a0 [idle]:\nruntime.(*spanQueue).tryDrain(0x7, 0x4)\n", "ran out of memory (limit 64 MiB)"},
		{"exit 2", "SIGSEGV: segmentation violation\nPC=0x1 m=0 sigcode=1 addr=0xc000123456\n\ngoroutine 0 gp=0x8 m=0 mp=0x8 [idle]:\nruntime.x()\n", "crashed: SIGSEGV: segmentation violation"},
		{"exit 2", "fatal error: unexpected signal during runtime execution\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x18 pc=0x1]\n", "ran out of memory (limit 64 MiB)"},
		{"exit 66", "==9966==ERROR: ThreadSanitizer failed to allocate 0x10000000 (268435456) bytes at address 218018000000 (errno: 12)\n", "ran out of memory (limit 64 MiB)"},
		{"exit 66", "==9909==ERROR: ThreadSanitizer: out of memory: failed to allocate 0x20000 (131072) bytes of TracePart (error code: 12)\n", "ran out of memory (limit 64 MiB)"},
		{"exit 66", "WARNING: DATA RACE\n", "exit code 66"},
		{"exit 2", "fatal error: concurrent map writes\n", "crashed: fatal error: concurrent map writes"},
		{"exit 2", "panic: \xff\n", "crashed: panic: \xff"},
		{"exit 2", "usage: …", "exit code 2"},
		{"exit 7", "panic: said, not done\n", "exit code 7"},
		{"kill -KILL $$", "fatal error: out of memory\n", "killed by signal SIGKILL"},
		{"kill -TERM $$", "", "killed by signal SIGTERM"},
		{"kill -SYS $$", "", "killed by signal SIGSYS: it made a forbidden system call"},
	} {
		if got := classify(ending{state: state(c.script), stderr: c.stderr}, 64<<20).String(); got != c.want {
			t.Errorf("%s, %q: got %q, want %q", c.script, c.stderr, got, c.want)
		}
	}
	if got := classify(ending{err: errors.New("waitid: no child processes")}, 0).String(); got != "ended, nobody knows how: waitid: no child processes" {
		t.Errorf("got %q", got)
	}
}

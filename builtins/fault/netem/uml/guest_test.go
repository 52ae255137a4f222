package uml

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The test binary plays these parts for the tests below.
func playParts() {
	switch os.Getenv("UML_PART") {
	case "victim": // boots a guest that never ends
		g := Guest{Dir: os.Getenv(envDir), Jobs: []Job{{Name: "endless", Binary: "/bin/sleep", Args: []string{"1d"}, Timeout: 24 * time.Hour}}}
		_, err := g.Boot(context.Background())
		panic(err)
	case "xstate": // says how the filter answers
		os.Stdout.WriteString(askXState())
		os.Exit(0)
	}
}

func script(line string, timeout time.Duration) Job {
	return Job{Name: line, Binary: "/bin/sh", Args: []string{"-c", line}, Dir: "/", Timeout: timeout}
}

// A job that hangs, dies or leaves processes behind is told apart from one that
// ends, and does not keep the others from running. The kernel does without
// extended registers, as on CPUs where they are too large for it.
func TestJobs(t *testing.T) {
	need(t)
	ctx, cancel := deadline(t)
	defer cancel()
	g := Guest{Dir: t.TempDir(), NoXState: true, Env: []string{"CHEESE=edam"}, Jobs: []Job{
		script("echo $CHEESE; exit 3", time.Hour),
		script("exec sleep 1d", time.Second),
		script("sleep 1d & sleep 0", time.Hour),
		script("kill -9 $$", time.Hour),
		script("(sleep 0.1; :) & uname -r; cat /proc/mounts", time.Hour),
	}}
	g.Jobs[4].Args[1] += "; wait"
	results, err := g.Boot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"exit 3", "signal quit", "exit 0, but has left running: ", "signal killed", "exit 0"} {
		if got := results[i].Status; got != want && !(i == 2 && strings.HasPrefix(got, want) && strings.Contains(got, "sleep")) {
			t.Errorf("%s: got status %q, want %q", g.Jobs[i].Name, got, want)
		}
	}
	if got := string(results[0].Output); got != "edam\n" {
		t.Errorf("got output %q, want the environment's edam", got)
	}
	if got := string(results[4].Output); !strings.Contains(got, " / hostfs") {
		t.Errorf("got output %q, want a guest whose root is the host's", got)
	}
	nothingRuns(t, g.Dir)
}

// A guest whose context ends is gone, and what it had printed is not.
func TestHungGuest(t *testing.T) {
	need(t)
	ctx, cancel := deadline(t)
	defer cancel()
	g := Guest{Dir: t.TempDir(), Jobs: []Job{script("echo began; sleep 1d", time.Hour)}}
	go func() {
		poll(t, "the job has begun", func() bool { return has(g.output(0), "began") })
		cancel()
	}()
	results, err := g.Boot(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that the context has ended", err)
	}
	if results[0].Status != "" || !strings.Contains(string(results[0].Output), "began") {
		t.Errorf("got %q with status %q, want the output so far and no status", results[0].Output, results[0].Status)
	}
	nothingRuns(t, g.Dir)
}

// A kernel that panics ends, and says why.
func TestPanic(t *testing.T) {
	need(t)
	ctx, cancel := deadline(t)
	defer cancel()
	g := Guest{Dir: t.TempDir(), Jobs: []Job{script("echo c > /proc/sysrq-trigger; sleep 1d", time.Hour)}}
	_, err := g.Boot(ctx)
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("got error %v, want the kernel's last words", err)
	}
	nothingRuns(t, g.Dir)
}

// A harness that is killed takes its guest along.
func TestKilledHarness(t *testing.T) {
	need(t)
	g := Guest{Dir: t.TempDir()}
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), "UML_PART=victim", envDir+"="+g.Dir)
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Process.Kill()
	poll(t, "the guest's job runs", func() bool { _, err := os.Stat(g.output(0)); return err == nil })
	if len(running(t, g.Dir)) < 2 {
		t.Fatal("sees no process of the guest's")
	}
	victim.Process.Kill()
	victim.Wait() // it was killed
	nothingRuns(t, g.Dir)
	if has("/proc/self/mountinfo", g.Dir) {
		t.Error("sees a mount of the guest's")
	}
}

// running has the processes whose command line or environment names dir.
func running(t *testing.T, dir string) (all []string) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if has(p+"/cmdline", dir) || has(p+"/environ", dir) {
			all = append(all, p)
		}
	}
	return all
}

func nothingRuns(t *testing.T, dir string) {
	t.Helper()
	poll(t, "all processes have ended", func() bool { return len(running(t, dir)) == 0 })
}

func has(file, part string) bool {
	whole, err := os.ReadFile(file)
	return err == nil && bytes.Contains(whole, []byte(part))
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("after two minutes not yet so: %s", what)
			return
		}
	}
}

// The filter refuses the question that the kernel must not ask, and no other.
func TestRefusesXState(t *testing.T) {
	need(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "UML_PART=xstate")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := "before: no error, after: operation not permitted, the older set: no error"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func askXState() string {
	runtime.LockOSThread() // who traces is a thread
	traced := exec.Command("/bin/sleep", "1d")
	traced.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := traced.Start(); err != nil {
		return err.Error()
	}
	defer traced.Process.Kill()
	if _, err := syscall.Wait4(traced.Process.Pid, nil, 0, nil); err != nil {
		return err.Error()
	}
	ask := func(set uintptr) string {
		room := make([]byte, 1<<16)
		vector := unix.Iovec{Base: &room[0]}
		vector.SetLen(len(room))
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GETREGSET, uintptr(traced.Process.Pid), set,
			uintptr(unsafe.Pointer(&vector)), 0, 0)
		if errno == 0 {
			return "no error"
		}
		return errno.Error()
	}
	const general = 1 // NT_PRSTATUS
	before := ask(ntX86XState)
	if err := refuseXState(); err != nil {
		return err.Error()
	}
	return "before: " + before + ", after: " + ask(ntX86XState) + ", the older set: " + ask(general)
}

package cage

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The worker dies with its parent, whatever it is doing.
func TestOrphan(t *testing.T) {
	for _, doing := range []string{"waiting", "spinning", "deaf to signals", "stopped"} {
		t.Run(doing, func(t *testing.T) { orphan(t, exec.Command(self(t), "play", "parent", "orphan", doing), doing) })
	}
	t.Run("before Enter", func(t *testing.T) { orphan(t, exec.Command(self(t), "play", "parent", "victim"), "") })
	t.Run("of nobody", func(t *testing.T) {
		needRoot(t, "to become nobody")
		cmd := exec.Command(publicCopy(t), "play", "parent", "orphan", "spinning")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		orphan(t, cmd, "spinning")
	})
}

func orphan(t *testing.T, parent *exec.Cmd, doing string) {
	pid, _ := startParent[string](t, parent)
	worker, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(worker)
	t.Cleanup(func() { _ = unix.PidfdSendSignal(worker, unix.SIGKILL, nil, 0) })
	if doing == "stopped" {
		if err := unix.PidfdSendSignal(worker, unix.SIGSTOP, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if dead(worker, 50*time.Millisecond) {
		t.Fatal("it is dead before its parent is")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !dies(worker) {
		t.Error("it outlives its parent")
	}
}

// playOrphan does something that no end of stdin interrupts.
func playOrphan(args []string) {
	mustEnter(allRings)
	switch doing := args[0]; doing {
	case "waiting":
		say(doing)
		time.Sleep(time.Hour)
	case "deaf to signals":
		runtime.LockOSThread()
		signal.Ignore()
		var all unix.Sigset_t
		for i := range all.Val {
			all.Val[i] = ^uint64(0)
		}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
			panic(err)
		}
		say(doing)
		spin()
	default:
		say(doing)
		for range 8 {
			go spin()
		}
		spin()
	}
}

func spin() {
	for n := 0; ; n++ {
	}
}

// The death signal is the forking thread's, so that thread must live on, even
// if the goroutine that called Start takes its own thread down.
func TestCallerEnds(t *testing.T) {
	got := make(chan *Child)
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread ends
		got <- play(t, Options{}, "idle", allRings)
	}()
	c := <-got
	hear[[]string](t, c)
	for range 5 {
		go func() { runtime.LockOSThread() }() // makes sure that threads end
		time.Sleep(20 * time.Millisecond)
	}
	select {
	case <-c.Done():
		t.Errorf("the worker %v: it died with a thread, not with a process", c.Wait())
	default:
	}
}

// Nor may the fork happen on a thread that some other goroutine takes down
// later: here threads end all the time while children are started.
func TestThreadsEnd(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Microsecond):
					go func() { runtime.LockOSThread() }() // and never unlocks
				}
			}
		}()
	}
	children := make([]*Child, 20)
	for i := range children {
		children[i] = play(t, Options{}, "victim")
		hear[string](t, children[i])
	}
	time.Sleep(100 * time.Millisecond)
	for _, c := range children {
		select {
		case <-c.Done():
			t.Errorf("a child %v: it died with a thread, not with a process", c.Wait())
		default:
		}
	}
}

// playParent is a parent that can be killed: it starts a worker, says its pid
// and what it says, and waits.
func playParent(args []string) {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	c, err := Start(Options{}, path, append([]string{"play"}, args...)...)
	if err != nil {
		panic(err)
	}
	line, err := readLine(c.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err, c.End(0), c.Stderr())
		os.Exit(13)
	}
	say(c.Pid())
	say(json.RawMessage(line))
	linger()
}

// startParent runs such a parent, and returns its worker's pid and first words.
func startParent[T any](t *testing.T, cmd *exec.Cmd) (pid int, said T) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, v := range []any{&pid, &said} {
		line, err := readLine(out)
		if err == nil {
			err = json.Unmarshal(line, v)
		}
		if err != nil {
			t.Fatalf("the parent said %q: %v", line, err)
		}
	}
	return pid, said
}

func dies(pidfd int) bool { return dead(pidfd, 10*time.Second) }

// dead waits for a process's death, also as a zombie that nobody reaps.
func dead(pidfd int, wait time.Duration) bool {
	for end := time.Now().Add(wait); ; {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(end).Milliseconds())))
		if err == nil {
			return n > 0
		}
	}
}

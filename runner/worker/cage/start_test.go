package cage

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEnd(t *testing.T) {
	t.Run("politely", func(t *testing.T) {
		c := play(t, Options{}, "idle", allRings)
		hear[[]string](t, c)
		if d := c.End(time.Minute); d.String() != "killed by signal SIGTERM" {
			t.Errorf("got %v", d)
		}
		if d := c.End(time.Minute); d.String() != "killed by signal SIGTERM" {
			t.Errorf("the second time: got %v", d)
		}
	})
	t.Run("by force", func(t *testing.T) {
		c := play(t, Options{}, "deaf")
		hear[string](t, c)
		if d := c.End(50 * time.Millisecond); d.String() != "killed by signal SIGKILL" {
			t.Errorf("got %v", d)
		}
	})
	t.Run("at once", func(t *testing.T) {
		c := play(t, Options{}, "idle", allRings)
		if d := c.End(0); d.String() != "killed by signal SIGKILL" {
			t.Errorf("got %v", d)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		c := play(t, Options{}, "idle", allRings)
		hear[[]string](t, c)
		if err := syscall.Kill(c.Pid(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if d := c.End(50 * time.Millisecond); d.String() != "killed by signal SIGKILL" {
			t.Errorf("got %v", d)
		}
	})
	t.Run("by itself", func(t *testing.T) {
		c := play(t, Options{}, "idle", allRings)
		hear[[]string](t, c)
		_ = c.Stdin.Close()
		if d := c.Wait(); d.String() != "exit code 0" {
			t.Errorf("got %v", d)
		}
		select {
		case <-c.Done():
		default:
			t.Error("it is dead, but not done")
		}
	})
}

func playDeaf([]string) {
	signal.Ignore(syscall.SIGTERM)
	say("deaf")
	linger()
	time.Sleep(time.Hour)
}

// A process that the child left behind, in its group or outside, holds its
// pipes: neither Wait nor a reader of Stdout waits for it.
func TestLitter(t *testing.T) {
	for _, where := range []string{"inside", "outside"} {
		t.Run(where+" the group", func(t *testing.T) {
			c := play(t, Options{}, "litter", where)
			pid := hear[int](t, c)
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			t.Cleanup(func() { _ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })

			read := make(chan error, 1)
			go func() { _, err := io.ReadAll(c.Stdout); read <- err }()
			_ = c.Stdin.Close()
			within(t, "Wait", func() { c.Wait() })
			within(t, "a reader", func() { <-read })
			if where == "inside" && !dies(fd) {
				t.Error("what was left in the group lives on")
			}
		})
	}
}

func playLitter(args []string) {
	cmd := exec.Command("/proc/self/exe", "play", "victim")
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, []*os.File{os.Stdout}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: args[0] == "outside"}
	r, w, _ := os.Pipe()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	_, _ = readLine(r)
	say(cmd.Process.Pid)
	linger()
}

// What the child said before it died can be read afterwards.
func TestLastAnswer(t *testing.T) {
	c := play(t, Options{}, "chatter")
	d := c.Wait()
	got, err := io.ReadAll(c.Stdout)
	if err != nil || !strings.HasSuffix(string(got), "bye\n") {
		t.Errorf("stdout: got %q, %v", got, err)
	}
	if d.String() != "crashed: panic: enough" || len(d.Stderr) > maxWords {
		t.Errorf("got %v and %d bytes", d, len(d.Stderr))
	}
}

func playChatter([]string) {
	for i := range 100_000 {
		fmt.Fprintln(os.Stderr, "line", i)
	}
	fmt.Println("bye")
	panic("enough")
}

// The environment carries nothing of the parent's.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	c := play(t, Options{}, "idle", "none")
	hear[[]string](t, c)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range strings.Split(strings.TrimRight(string(b), "\x00"), "\x00") {
		name, _, _ := strings.Cut(v, "=")
		if !strings.Contains(" CHAOS_CAGE_PARENT CHAOS_CAGE_MEMORY GOMEMLIMIT GOMAXPROCS GOTRACEBACK GODEBUG ", " "+name+" ") {
			t.Errorf("got %q", v)
		}
	}
}

func TestStartErrors(t *testing.T) {
	before := openFiles(t)
	if _, err := Start(Options{}, "/no/such/file"); err == nil || !strings.HasPrefix(err.Error(), "cage: start /no/such/file: ") {
		t.Errorf("got the error %v", err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Many children leave nothing: no descriptor, no thread, no zombie.
func TestNothingIsLeft(t *testing.T) {
	n := 100
	if testing.Short() || raceBuild {
		n = 5 // the race detector sleeps for a second at each end
	}
	one := func() {
		c := play(t, Options{}, "bare")
		_ = c.Stdin.Close()
		c.Wait()
		_ = c.Stdout.Close()
		if err := syscall.Kill(c.Pid(), 0); err != syscall.ESRCH {
			t.Errorf("pid %d is still there (%v): a zombie", c.Pid(), err)
		}
	}
	one()
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	for range n {
		one()
	}
	if now := openFiles(t); now > files {
		t.Errorf("%d descriptors are open, were %d", now, files)
	}
	if now := runtime.NumGoroutine(); now > goroutines+2 {
		t.Errorf("%d goroutines run, were %d", now, goroutines)
	}
}

// Enter refuses a process that Start did not make.
func TestEnterAlone(t *testing.T) {
	for _, c := range []struct{ env, want string }{
		{"", `"cage: got CHAOS_CAGE_PARENT=\"\", want the parent's pid: a worker is started by its runner, not by hand"`},
		{"CHAOS_CAGE_PARENT=x", `"cage: got CHAOS_CAGE_PARENT=\"x\", want`},
		{"CHAOS_CAGE_PARENT=4194303", "pdeathsig: the parent is gone"},
		{fmt.Sprintf("CHAOS_CAGE_PARENT=%d", os.Getpid()), `"entered"`},
	} {
		cmd := exec.Command(self(t), "play", "alone")
		cmd.Env = []string{c.env}
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("with %q: got %s, %v, want %s", c.env, out, err, c.want)
		}
	}
}

// A parent of nobody's: what is not root's still makes a cage.
func TestNobody(t *testing.T) {
	needRoot(t, "to become nobody; any other user shows the same by running these tests")
	path := publicCopy(t)
	cmd := exec.Command(path, "play", "parent", "idle", allRings)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	_, rings := startParent[[]string](t, cmd)
	got := strings.Join(rings, " ")
	if !strings.HasPrefix(got, "files rlimit no-new-privs capabilities undumpable pdeathsig ") || !strings.HasSuffix(got, "seccomp") {
		t.Errorf("got the rings %q", got)
	}
}

// A folder that only root may enter does not keep the worker from starting.
func TestPrivateFolder(t *testing.T) {
	needRoot(t, "others drop no uid")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := copyTo(t, filepath.Join(dir, "runner"))
	c, err := Start(Options{}, path, "play", "idle", allRings)
	if err != nil {
		t.Fatal(err)
	}
	defer c.End(0)
	if got := hear[[]string](t, c); !strings.Contains(strings.Join(got, " "), "uid") {
		t.Errorf("got the rings %q", got)
	}
}

// A container's root without CAP_SETUID still loses its capabilities.
func TestRootWithoutSetuid(t *testing.T) {
	needRoot(t, "to give up CAP_SETUID")
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("needs setpriv of util-linux")
	}
	cmd := exec.Command(setpriv, "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid", publicCopy(t), "play", "parent", "idle", allRings)
	pid, rings := startParent[[]string](t, cmd)
	got := strings.Join(rings, " ")
	if strings.Contains(got, "uid") || !strings.Contains(got, "capabilities") || !strings.Contains(got, "seccomp") {
		t.Errorf("got the rings %q", got)
	}
	if eff := status(t, fmt.Sprintf("/proc/%d/status", pid))["CapEff"]; eff != "0000000000000000" {
		t.Errorf("it has the capabilities %s", eff)
	}
}

// Root of a user namespace has few numbers, and takes one of them.
func TestUserNamespace(t *testing.T) {
	needRoot(t, "to map 65,536 numbers")
	cmd := exec.Command(publicCopy(t), "play", "parent", "idle", allRings)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100_000, Size: 65_536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{},
	}
	if filtered(t) {
		t.Skip("this test runs under a seccomp filter of a container's, which may forbid user namespaces")
	}
	pid, rings := startParent[[]string](t, cmd)
	if got := strings.Join(rings, " "); !strings.Contains(got, "uid") || !strings.Contains(got, "seccomp") {
		t.Errorf("got the rings %q", got)
	}
	id := fmt.Sprint(100_000 + uids(pid, 0)[1])
	if got := strings.Fields(status(t, fmt.Sprintf("/proc/%d/status", pid))["Uid"]); len(got) != 4 || got[0] != id || got[2] != id {
		t.Errorf("got the uids %q, want %s", got, id)
	}
}

func publicCopy(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return copyTo(t, filepath.Join(dir, "runner"))
}

func copyTo(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { do(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

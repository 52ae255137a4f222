package proc

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A process whose name looks like the fields behind it is read all the same.
func TestStat(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	odd := filepath.Join(t.TempDir(), "a) Z 1 (b")
	if err := os.Symlink(sleep, odd); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(odd, "600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	own, err := Stat(os.Getpid())
	if err != nil || own.Parent != os.Getppid() || own.Stopped() {
		t.Errorf("got %+v, %v", own, err)
	}
	if err := c.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s, err := Stat(c.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if s.Stopped() && s.Parent == os.Getpid() && s.Start >= own.Start {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("got %+v, want it stopped, our child, and younger than %d", s, own.Start)
		}
	}
	_ = c.Process.Kill()
	_ = c.Wait() // its signal
	if _, err := Stat(c.Process.Pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it is gone", err)
	}
	if b := Boot(); b == "" || b != Boot() {
		t.Errorf("got boot %q", b)
	}
}

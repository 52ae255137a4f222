package ballast

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	envHold = "BALLAST_TEST_HOLD" // "DIR BYTES": this process is a holder
	envBare = "BALLAST_TEST_BARE" // of one file, as anybody would
)

func TestMain(m *testing.M) {
	if what := os.Getenv(envHold); what != "" {
		hold(what)
	}
	os.Exit(m.Run())
}

// hold takes room, says so and waits for its end.
func hold(what string) {
	var dir string
	var size int64
	_, err := fmt.Sscan(what, &dir, &size)
	var fd int
	if err == nil {
		fd, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	switch {
	case err != nil:
	case os.Getenv(envBare) != "":
		var file int
		if file, err = unix.Openat(fd, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600); err == nil {
			err = unix.Fallocate(file, 0, 0, size)
		}
	default:
		err = New(Spec{Dir: fd, Hold: Kernel, Size: size}).Fill(context.Background())
	}
	fmt.Println(err)
	_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started it is gone
	os.Exit(0)
}

// holder starts a process that holds size bytes in dir.
func holder(t testing.TB, dir string, size int64) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envHold+"="+dir+" "+strconv.FormatInt(size, 10))
	out, err := cmd.StdoutPipe()
	if err == nil {
		_, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead already
		_ = cmd.Wait()         // of the signal
	})
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || said != "<nil>\n" {
		t.Fatalf("the holder says %q, %v", said, err)
	}
	return cmd
}

// Nobody undoes it: the kernel does.
func TestKilled(t *testing.T) {
	for name, disk := range disks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := disk(t).Dir
			before := usage(t, dir)
			cmd := holder(t, dir, 40*mib)
			unix.Sync()
			if got := before.Avail - usage(t, dir).Avail; got < 39*mib {
				t.Fatalf("got %d bytes held, want 40 MiB", got)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			soon(t, "the room is back", func() bool {
				unix.Sync() // btrfs frees with its next commit
				return usage(t, dir).Avail >= before.Avail-mib
			})
		})
	}
}

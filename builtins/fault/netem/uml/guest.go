package uml

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tmp is a folder in the guest's memory: files on the host's disk have no
// sockets and locks of the guest's.
const tmp = "/run/tmp"

// init is the guest's first process.
func (g Guest) init() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := errors.Join(os.Mkdir(tmp, 0o1777), os.Mkdir("/run/netns", 0o755), g.modules(), loopback()); err != nil {
		return err
	}
	for i := range g.Jobs {
		if err := g.run(i); err != nil {
			return fmt.Errorf("%s: %w", g.Jobs[i].Name, err)
		}
	}
	halt()
	return nil
}

func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	return err
}

func (g Guest) modules() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	// Debian's place, as its modules are not the host's.
	kernel := filepath.Join("/usr/lib/uml/modules", unix.ByteSliceToString(name.Release[:]), "kernel")
	for _, m := range g.Modules {
		f, err := os.Open(filepath.Join(kernel, m+".ko"))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("module %s: %w", m, err)
		}
	}
	return nil
}

// run runs one job to its end and clears away what it has left running.
func (g Guest) run(i int) error {
	job := g.Jobs[i]
	output, err := os.Create(g.output(i))
	if err != nil {
		return err
	}
	defer output.Close()
	cmd := exec.Command(job.Binary, job.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = job.Dir, output, output
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + tmp, "HOME=" + tmp}
	cmd.Env = append(cmd.Env, g.Env...)
	if g.NoXState {
		cmd.Env = append(cmd.Env, narrow)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(job.Timeout, func() {
		cmd.Process.Signal(unix.SIGQUIT) // a Go program then says where each goroutine stands
		time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	})
	status, err := reapUntil(cmd.Process.Pid)
	late.Stop()
	if err != nil {
		return err
	}
	if left := programs(); len(left) > 0 {
		unix.Kill(-1, unix.SIGKILL)
		status += fmt.Sprintf(", but has left running: %s", strings.Join(left, ", "))
	}
	return os.WriteFile(g.status(i), []byte(status), 0o600)
}

// reapUntil is an init's duty: it waits for everyone, until pid has ended.
func reapUntil(pid int) (string, error) {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return "", err
		case ended == pid && status.Signaled():
			return "signal " + status.Signal().String(), nil
		case ended == pid && status.Exited():
			return fmt.Sprintf("exit %d", status.ExitStatus()), nil
		}
	}
}

// programs has all processes but this one and the kernel's own.
func programs() []string {
	var left []string
	paths, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is sound
	for _, path := range paths {
		if program, err := os.Readlink(path); err == nil && path != "/proc/1/exe" {
			left = append(left, program)
		}
	}
	return left
}

// halt ends the guest. The host's files are written through.
func halt() {
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

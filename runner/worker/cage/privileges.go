package cage

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

func noNewPrivs(settings) (string, error) {
	return "no-new-privs", prctlAll(unix.PR_SET_NO_NEW_PRIVS, 1)
}

// dropCapabilities matters where the uid could not be dropped (a container's
// root without CAP_SETUID, a program with file capabilities): a change from
// root to another uid drops them by itself.
func dropCapabilities(settings) (string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return "", errno
	}
	return "capabilities", nil
}

// undumpable keeps other processes of the same uid from tracing this one.
// It comes after the uid, which sets the flag anew.
func undumpable(settings) (string, error) {
	return "undumpable", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // of the process, not of a thread
}

// dieWithParent arms the parent's death signal again: Start armed it before
// exec, and the change of uid has cleared it. It is a property of each thread;
// the main one, at least, lives as long as the process.
func dieWithParent(s settings) (string, error) {
	if err := prctlAll(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)); err != nil {
		return "", err
	}
	// A parent that died in between sends no signal any more.
	if unix.Getppid() != s.parent {
		return "", errors.New("the parent is gone")
	}
	return "pdeathsig", nil
}

// prctlAll is prctl on all threads, of Go's and of C's making.
func prctlAll(option int, arg uintptr) error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

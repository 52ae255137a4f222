package cage

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The worker's uid and gid are one number, made of its pid, so that no two
// living workers share one. It lies between what SSSD maps domain accounts to
// (up to 2,000,200,000) and what systemd keeps for disk images (from
// 0x7ffe0000), above all that subuid and container tools hand out.
const (
	firstUID = 0x77d00000
	pidBits  = 22 // a pid is below 1<<22
	slotBits = 5  // pid namespaces are told apart as far as room is
)

// The second choice, for a user namespace that maps only 65,536 numbers.
const (
	firstSmallUID = 40000
	smallUIDs     = 16384
)

// dropUID gives up root in all threads, after exec: a process that dropped it
// before could not exec a binary from a folder that only root may enter.
func dropUID(settings) (string, error) {
	if os.Geteuid() != 0 && os.Getuid() != 0 {
		return "", errors.New("not root: the worker runs as the user who started it")
	}
	words := "uid"
	if err := syscall.Setgroups(nil); err != nil {
		words = "uid (groups kept)" // a user namespace may forbid it
	}
	var errs []error
	for _, id := range uids(os.Getpid(), pidNamespace()) {
		if err := becomeUID(id); err != nil {
			errs = append(errs, err)
			continue
		}
		// Not earlier: the limit counts by uid, and the old one may have many.
		return words, setLimit(unix.RLIMIT_NPROC, maxThreads)
	}
	return "", errors.Join(errs...)
}

func uids(pid int, namespace uint64) []int {
	slot := int(namespace % (1 << slotBits))
	return []int{
		firstUID + slot<<pidBits + pid%(1<<pidBits),
		firstSmallUID + pid%smallUIDs,
	}
}

func becomeUID(id int) error {
	if err := syscall.Setresgid(id, id, id); err != nil {
		return fmt.Errorf("gid %d: %w", id, err)
	}
	if err := syscall.Setresuid(id, id, id); err != nil {
		return fmt.Errorf("uid %d: %w", id, err)
	}
	return nil
}

// pidNamespace numbers the pid namespace; 0 where /proc does not tell.
func pidNamespace() uint64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return 0
	}
	return st.Ino
}

package cage

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeInherited closes what is open above stderr, but for the runtime's own
// poller: its death is a fatal error. The poller is told from one that was
// inherited by its close-on-exec flag, which no descriptor has that lived
// through exec.
func closeInherited(settings) (string, error) {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return "", err
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= 2 || ofPoller(fd) {
			continue
		}
		// EBADF: the descriptor that /proc/self/fd itself was read through.
		if err := unix.Close(fd); err != nil && err != unix.EBADF {
			return "", fmt.Errorf("close descriptor %d: %w", fd, err)
		}
	}
	return "files", nil
}

func ofPoller(fd int) bool {
	to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || (to != "anon_inode:[eventpoll]" && to != "anon_inode:[eventfd]") {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC != 0
}

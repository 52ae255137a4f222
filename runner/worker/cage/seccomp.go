package cage

import (
	"errors"
	"fmt"
	"os"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// filterSyscalls forbids every system call but those that a running Go process
// needs. What is forbidden fails with EPERM, so that a library which looks for
// a file or a terminal goes on without; what only an attack would call kills
// the process. A call of another architecture (int 0x80 on amd64) fails, too.
func filterSyscalls(settings) (string, error) {
	policy, err := policy(os.Getpid())
	if err != nil {
		return "", err
	}
	if err := seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync, // all threads
		Policy:     policy,
	}); err != nil {
		return "", err
	}
	// The library does not see the kernel refuse to take all threads along:
	// that answer is a thread's id, not an errno.
	if _, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); !errors.Is(err, unix.EPERM) {
		return "", fmt.Errorf("the filter was loaded but does not filter (got %v): some thread has one of its own", err)
	}
	return "seccomp", nil
}

// policy is the filter of the process with that pid.
func policy(pid int) (seccomp.Policy, error) {
	here, err := arch.GetInfo("")
	if err != nil {
		return seccomp.Policy{}, err
	}
	return seccomp.Policy{
		DefaultAction: seccomp.ActionErrno, // EPERM
		Syscalls: []seccomp.SyscallGroup{
			{Action: seccomp.ActionAllow, Names: allowed, NamesWithCondtions: allowedIf(pid)},
			// glibc then falls back to clone, whose flags a filter can read.
			{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
			{Action: seccomp.ActionKillProcess, Names: known(here, hostile)},
		},
	}, nil
}

// known leaves out names that an architecture does not have.
func known(a *arch.Info, names []string) []string {
	var here []string
	for _, name := range names {
		if _, ok := a.SyscallNames[name]; ok {
			here = append(here, name)
		}
	}
	return here
}

package cage

import (
	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// allowed is what a running Go process calls, whatever the arguments. Nothing
// here makes a descriptor, names a path or reaches another process.
var allowed = append([]string{
	// stdio
	"read", "write", "close",
	// memory; mmap stands below
	"munmap", "madvise",
	// threads; clone and tgkill stand below
	"futex", "gettid", "getpid", "sched_yield", "exit", "exit_group",
	// signals
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	// time, and what the kernel calls in a sleeper's name after SIGCONT
	"nanosleep", "clock_gettime", "restart_syscall",
	// the poller, which is open by now
	"epoll_ctl", "epoll_pwait",
	// chance
	"getrandom",
}, allowedC...)

// foreign are the flags of clone that no thread of Go's or glibc's has.
const foreign = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_PTRACE | unix.CLONE_UNTRACED | unix.CLONE_PARENT | unix.CLONE_VFORK | unix.CLONE_PIDFD

// allowedIf is what a running Go process calls, with the arguments it uses.
func allowedIf(pid int) []seccomp.NameWithConditions {
	return append([]seccomp.NameWithConditions{
		// Threads, never processes.
		{Name: "clone", Conditions: seccomp.ArgumentConditions{
			{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
			{Argument: 0, Operation: seccomp.BitsNotSet, Value: foreign},
		}},
		// Preemption signals the process's own threads.
		{Name: "tgkill", Conditions: seccomp.ArgumentConditions{
			{Argument: 0, Operation: seccomp.Equal, Value: uint64(pid)},
		}},
		// Private memory, which RLIMIT_DATA counts, and no new code.
		{Name: "mmap", Conditions: seccomp.ArgumentConditions{
			{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC},
			{Argument: 3, Operation: seccomp.BitsNotSet, Value: unix.MAP_SHARED},
		}},
	}, allowedCIf...)
}

// hostile is what nothing in a worker calls by accident, and what matters most
// should the kernel have a hole: whoever tries it gets no second try.
var hostile = []string{
	"execve", "execveat",
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
	"memfd_create", "memfd_secret", "userfaultfd",
	"io_uring_setup", "io_uring_enter", "io_uring_register",
	"bpf", "perf_event_open",
	"unshare", "setns", "chroot", "pivot_root",
	"mount", "umount2", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
	"open_by_handle_at", "name_to_handle_at",
	"add_key", "request_key", "keyctl",
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
	"reboot", "swapon", "swapoff", "iopl", "ioperm", "modify_ldt",
}

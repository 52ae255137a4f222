package cage

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An attempt is one thing that hostile code tries in the worker's place.
type attempt struct {
	name  string
	do    func(w *world) error // nil: it got what it wanted
	alone []string             // each of these rings stops it without the others
	kills bool                 // the whole cage answers with death
	root  bool                 // without a cage, only root can
	maybe bool                 // without a cage, not every kernel can
	blind bool                 // without a cage, it would wreck the Go process that tries
}

var attempts = []attempt{
	// Files.
	{name: "read a file", alone: both, do: func(*world) error { _, err := os.ReadFile("/etc/passwd"); return err }},
	{name: "read another user's file", alone: []string{"seccomp", "uid", "landlock"}, do: func(w *world) error { _, err := os.ReadFile(w.Secret); return err }},
	{name: "stat a file", alone: seccompOnly, do: func(*world) error { _, err := os.Stat("/etc/passwd"); return err }},
	{name: "list a folder", alone: both, do: func(*world) error { _, err := os.ReadDir("/"); return err }},
	{name: "open its own binary", alone: both, do: func(*world) error { _, err := os.Open("/proc/self/exe"); return err }},
	{name: "open its own memory", alone: both, do: func(*world) error { _, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0); return err }},
	{name: "open by openat2", alone: both, do: func(*world) error {
		_, err := unix.Openat2(unix.AT_FDCWD, "/etc/passwd", &unix.OpenHow{Flags: unix.O_RDONLY})
		return err
	}},
	{name: "create a file", alone: both, do: func(w *world) error { return os.WriteFile(filepath.Join(w.Dir, "new"), nil, 0o666) }},
	{name: "write a file", alone: both, do: func(w *world) error { return os.WriteFile(w.Public, []byte("x"), 0) }},
	{name: "truncate a file", alone: both, do: func(w *world) error { return os.Truncate(w.Public, 0) }},
	{name: "remove a file", alone: both, do: func(w *world) error { return os.Remove(w.Public) }},
	{name: "rename a file", alone: both, do: func(w *world) error { return os.Rename(w.Public, w.Public+"2") }},
	{name: "make a link", alone: both, do: func(w *world) error { return os.Symlink("/", filepath.Join(w.Dir, "link")) }},
	{name: "make a folder", alone: both, do: func(w *world) error { return os.Mkdir(filepath.Join(w.Dir, "sub"), 0o777) }},
	{name: "chmod", alone: []string{"seccomp", "uid"}, do: func(w *world) error { return os.Chmod(w.Public, 0o777) }},
	{name: "change folder", alone: seccompOnly, do: func(w *world) error { return os.Chdir(w.Dir) }},
	{name: "make a pipe", alone: seccompOnly, do: func(*world) error { return unix.Pipe(make([]int, 2)) }},

	// The network.
	{name: "connect by TCP", alone: both, do: func(w *world) error { return dial("tcp", w.TCP) }},
	{name: "listen on TCP", alone: both, do: func(*world) error { return listen(false) }},
	{name: "listen on multipath TCP", alone: seccompOnly, do: func(*world) error { return listen(true) }}, // which Landlock lets pass
	{name: "send by UDP", alone: seccompOnly, do: func(w *world) error { return dial("udp", w.UDP) }},
	{name: "connect to a Unix socket", alone: seccompOnly, do: func(w *world) error { return dial("unix", w.Unix) }},
	{name: "connect to an abstract socket", alone: []string{"seccomp", "landlock v6"}, do: func(w *world) error { return dial("unix", w.Abstract) }},
	{name: "open a netlink socket", alone: seccompOnly, do: func(*world) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW) }},
	{name: "open a packet socket", root: true, alone: []string{"seccomp", "uid", "capabilities"}, do: func(*world) error { return socket(unix.AF_PACKET, unix.SOCK_RAW) }},
	{name: "make a socket pair", alone: seccompOnly, do: func(*world) error {
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return err
	}},

	// Other programs, other processes.
	{name: "run a program", alone: both, do: func(w *world) error {
		return exec.Command("/bin/sh", "-c", "echo > "+filepath.Join(w.Dir, "ran")).Run()
	}},
	{name: "become a program", alone: both, kills: true, do: func(w *world) error {
		return syscall.Exec("/bin/sh", []string{"sh", "-c", "echo null; read x"}, nil)
	}},
	{name: "fork by clone", alone: seccompOnly, do: func(*world) error {
		return fork(unix.SYS_CLONE, uintptr(unix.SIGCHLD))
	}},
	{name: "fork by clone3", alone: seccompOnly, do: func(*world) error {
		args := [11]uint64{4: uint64(unix.SIGCHLD)}
		err := fork(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
		if errors.Is(err, unix.EPERM) {
			return nil // must be ENOSYS: glibc falls back on nothing else
		}
		return err
	}},
	{name: "a thread with a namespace of its own", alone: seccompOnly, do: func(*world) error {
		// The kernel refuses these flags by EINVAL, once the filter has let them pass.
		return ignore(call(unix.SYS_CLONE, unix.CLONE_THREAD|unix.CLONE_NEWIPC), unix.EINVAL)
	}},
	{name: "kill a process", alone: outside, do: func(w *world) error { return unix.Kill(w.Victim, unix.SIGKILL) }},
	{name: "stop a process", alone: outside, do: func(w *world) error { return unix.Kill(w.Victim, unix.SIGSTOP) }},
	{name: "kill a thread", alone: outside, do: func(w *world) error { return unix.Tgkill(w.Victim, w.Victim, unix.SIGKILL) }},
	{name: "kill a thread by tkill", alone: outside, do: func(w *world) error { return call(unix.SYS_TKILL, uintptr(w.Victim), uintptr(unix.SIGKILL)) }},
	{name: "kill by pidfd", alone: outside, do: func(w *world) error {
		fd, err := unix.PidfdOpen(w.Victim, 0)
		if err != nil {
			return err
		}
		return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}},
	{name: "use a pidfd", alone: seccompOnly, do: func(*world) error {
		return ignore(unix.PidfdSendSignal(-1, unix.SIGKILL, nil, 0), unix.EBADF) // let pass
	}},
	{name: "queue a signal", alone: outside, do: func(w *world) error {
		info := [16]uint64{0: uint64(unix.SIGKILL), 1: uint64(uint32(0xffffffff))} // SI_QUEUE
		return call(unix.SYS_RT_SIGQUEUEINFO, uintptr(w.Victim), uintptr(unix.SIGKILL), uintptr(unsafe.Pointer(&info)))
	}},
	{name: "signal the parent", alone: outside, do: func(w *world) error { return unix.Kill(w.Parent, unix.SIGUSR1) }},
	{name: "trace a process", alone: []string{"seccomp", "uid", "landlock"}, kills: true, do: func(w *world) error {
		return unix.PtraceSeize(w.Victim)
	}},
	{name: "read a process's memory", alone: []string{"seccomp", "uid", "landlock"}, kills: true, do: func(w *world) error { return peek(w.Victim) }},
	{name: "leave its group", alone: seccompOnly, do: func(w *world) error { return unix.Setpgid(0, w.Group) }},

	// What kernels have fallen by.
	{name: "run a program from memory", alone: seccompOnly, kills: true, do: func(w *world) error {
		fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, []byte("#!/bin/sh\n"))
		return err
	}},
	{name: "set up io_uring", alone: seccompOnly, kills: true, maybe: true, do: func(*world) error {
		return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[30]uint32{})))
	}},
	{name: "userfaultfd", alone: seccompOnly, kills: true, maybe: true, do: func(*world) error {
		return call(unix.SYS_USERFAULTFD, 1) // UFFD_USER_MODE_ONLY
	}},
	{name: "bpf", alone: seccompOnly, kills: true, maybe: true, root: true, do: func(*world) error {
		return call(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&[4]uint32{2, 4, 4, 1})), 16) // an array map
	}},
	{name: "perf", alone: seccompOnly, kills: true, maybe: true, do: func(*world) error {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Bits: unix.PerfBitExcludeKernel}
		_, err := unix.PerfEventOpen(&attr, 0, -1, -1, 0)
		return err
	}},
	{name: "mount", alone: []string{"seccomp", "uid", "capabilities"}, root: true, kills: true, do: func(w *world) error { return unix.Mount("none", w.Dir, "tmpfs", 0, "") }},
	{name: "unshare", alone: []string{"seccomp", "uid", "capabilities"}, root: true, kills: true, do: func(*world) error { return unix.Unshare(unix.CLONE_NEWIPC) }},
	{name: "a user namespace", alone: seccompOnly, kills: true, maybe: true, do: func(*world) error { return ignore(unix.Unshare(unix.CLONE_NEWUSER), unix.EINVAL) }},
	{name: "keyrings", alone: seccompOnly, kills: true, maybe: true, do: func(*world) error {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
		return err
	}},

	// The cage itself.
	{name: "become root again", alone: []string{"seccomp", "uid"}, root: true, do: func(*world) error { return unix.Setuid(0) }},
	{name: "outlive the parent", alone: seccompOnly, do: func(*world) error { return unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0) }},
	{name: "be dumpable", alone: seccompOnly, do: func(*world) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }},
	{name: "raise its memory limit", root: true, alone: []string{"seccomp", "rlimit,uid", "rlimit,capabilities"}, do: func(*world) error {
		return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	}},
	{name: "map more than the limit", alone: []string{"rlimit"}, do: func(*world) error { return mapMemory(2<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE) }},
	{name: "map shared memory", alone: seccompOnly, do: func(*world) error { return mapMemory(1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED) }},
	{name: "map System V memory", alone: seccompOnly, maybe: true, do: func(*world) error {
		_, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600)
		return err
	}},
	{name: "map code", alone: seccompOnly, do: func(*world) error { return mapMemory(4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE) }},
	{name: "turn data into code", alone: seccompOnly, do: func(*world) error {
		page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return err
		}
		return unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC)
	}},
	{name: "read what it inherited", alone: []string{"files"}, do: readInherited},
	{name: "be told of a signal by fcntl", alone: seccompOnly, do: func(w *world) error {
		_, err := unix.FcntlInt(0, unix.F_SETOWN, w.Victim)
		return err
	}},
}

var (
	seccompOnly = []string{"seccomp"}
	both        = []string{"seccomp", "landlock"}
	outside     = []string{"seccomp", "uid", "landlock v6"}
)

func init() {
	if runtime.GOARCH == "amd64" {
		attempts = append(attempts,
			attempt{name: "fork", alone: seccompOnly, do: func(*world) error { return fork(57) }},
			attempt{name: "vfork", alone: seccompOnly, blind: true, do: func(*world) error { return fork(58) }},
			attempt{name: "the x32 ABI", alone: seccompOnly, maybe: true, do: func(*world) error {
				return call(0x40000000|unix.SYS_GETPPID, 0)
			}},
		)
	}
}

// outcome is what the worker says of an attempt.
type outcome struct {
	Rings  []string
	Failed string // the error; "" if it got what it wanted
}

func playAttempt(args []string) {
	rings, name := args[0], args[1]
	var w world
	if err := json.Unmarshal([]byte(args[2]), &w); err != nil {
		panic(err)
	}
	out := outcome{Rings: mustEnter(rings)}
	say(out.Rings)
	for _, a := range attempts {
		if a.name == name {
			if err := a.do(&w); err != nil {
				out.Failed = err.Error()
			}
		}
	}
	say(out)
	linger()
}

func call(nr uintptr, args ...uintptr) error {
	var a [3]uintptr
	copy(a[:], args)
	if _, _, errno := syscall.Syscall(nr, a[0], a[1], a[2]); errno != 0 {
		return errno
	}
	return nil
}

// fork forks, if it may, a child that ends at once.
func fork(nr uintptr, args ...uintptr) error {
	var a [3]uintptr
	copy(a[:], args)
	pid, errno := rawFork(nr, a[0], a[1])
	if errno != 0 {
		return errno
	}
	_, err := unix.Wait4(int(pid), nil, 0, nil)
	return err
}

// rawFork does nothing in the child but exit: it has none of Go's threads.
//
//go:nosplit
//go:norace
func rawFork(nr, a, b uintptr) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall(nr, a, b, 0)
	if pid == 0 && errno == 0 {
		for {
			syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
		}
	}
	return pid, errno
}

func dial(network, address string) error {
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if network == "udp" { // nothing has left yet
		_, err = c.Write([]byte("hello"))
	}
	return err
}

func listen(multipath bool) error {
	var config net.ListenConfig
	config.SetMultipathTCP(multipath)
	l, err := config.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return l.Close()
}

func socket(domain, kind int) error {
	_, err := unix.Socket(domain, kind, 0)
	return err
}

func mapMemory(bytes, prot, flags int) error {
	_, err := unix.Mmap(-1, 0, bytes, prot, flags|unix.MAP_ANON)
	return err
}

var peeked uint64

func peek(pid int) error {
	here, there := unix.Iovec{Base: (*byte)(unsafe.Pointer(&peeked)), Len: 8}, unix.RemoteIovec{Base: uintptr(unsafe.Pointer(&peeked)), Len: 8}
	_, err := unix.ProcessVMReadv(pid, []unix.Iovec{here}, []unix.RemoteIovec{there}, 0)
	return ignore(err, unix.EFAULT) // let in, but a position-independent binary has it elsewhere
}

// readInherited looks for the file that the test leaves open.
func readInherited(*world) error {
	for fd := 3; fd < 256; fd++ {
		buf := make([]byte, len(publicText))
		if _, err := unix.Pread(fd, buf, 0); err == nil && string(buf) == publicText {
			return nil
		}
	}
	return errors.New("found nothing")
}

// ignore takes an errno for success: the call was let through.
func ignore(err error, errno syscall.Errno) error {
	if errors.Is(err, errno) {
		return nil
	}
	return err
}

package uml

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// launch runs the kernel. It is the first process of its pid namespace and has
// its mounts for itself. It does not become the kernel: a kernel that panics
// ends by abort(3), which a first process survives.
func (g Guest) launch() error {
	program, err := exec.LookPath(Kernel)
	if err != nil {
		return err
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", 0, ""},
		{"uml", g.private(), "tmpfs", 0, "size=1g,mode=0700"},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if g.NoXState {
		if err := refuseXState(); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{
		"mem=512M", "uml_dir=" + g.private(), "umid=guest",
		"rootfstype=hostfs", "root=/dev/root", "rootflags=/", "rw",
		"con=null", "con0=null,fd:1", "quiet",
		"init=" + self, envStage + "=guest", envDir + "=" + g.Dir,
	}
	if g.NoXState {
		args = append(args, narrow)
	}
	kernel := exec.Command(program, args...)
	kernel.Env = []string{"TMPDIR=" + g.private(), "HOME=" + g.private(), "PATH=" + os.Getenv("PATH")}
	kernel.Stdout, kernel.Stderr = os.Stdout, os.Stderr
	if err := kernel.Run(); err != nil {
		return fmt.Errorf("%s: %w", Kernel, err)
	}
	os.Exit(0)
	return nil
}

// narrow keeps Go programs from registers that a kernel without extended state
// does not keep for their threads.
const narrow = "GODEBUG=cpu.all=off"

// Oversized says whether this CPU's extended state is larger than the kernel's
// buffer for it. With AMX it is, and then the kernel panics at its start:
// it is then better off without, see [Guest.NoXState].
func Oversized() bool {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	lines := bufio.NewScanner(bytes.NewReader(info))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if name, flags, _ := bytes.Cut(lines.Bytes(), []byte(":")); string(bytes.TrimSpace(name)) == "flags" {
			return slices.ContainsFunc(bytes.Fields(flags), func(f []byte) bool { return bytes.HasPrefix(f, []byte("amx")) })
		}
	}
	return false
}

// refuseXState makes every question for a process's extended registers fail, as
// on a CPU without them. The kernel then asks for the older set.
func refuseXState() error {
	var asks []seccomp.NameWithConditions
	for _, request := range []uint64{unix.PTRACE_GETREGSET, unix.PTRACE_SETREGSET} {
		asks = append(asks, seccomp.NameWithConditions{Name: "ptrace", Conditions: seccomp.ArgumentConditions{
			{Argument: 0, Operation: seccomp.Equal, Value: request},
			{Argument: 2, Operation: seccomp.Equal, Value: ntX86XState},
		}})
	}
	err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionErrno, NamesWithCondtions: asks}},
	}})
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

const ntX86XState = 0x202 // NT_X86_XSTATE in linux/elf.h

//go:build cgo

package cage

import (
	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// allowedC is what glibc (and the race detector, which is C) calls besides:
// brk for malloc (which takes a refusal for success), the rest for the start of
// a thread and for sleeping.
var allowedC = []string{"brk", "set_robust_list", "rseq", "clock_nanosleep"}

// allowedCIf: a thread's stack is reserved first and made writable then.
var allowedCIf = []seccomp.NameWithConditions{
	{Name: "mprotect", Conditions: seccomp.ArgumentConditions{
		{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC},
	}},
}

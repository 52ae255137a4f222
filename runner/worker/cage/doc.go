// Package cage shuts a worker in, so that a script can do nothing but compute
// and talk over stdio, and dies with whoever started it. Linux only.
//
// The parent calls Start; the child calls Enter first thing in main, before it
// reads a byte of script. Each ring below stands without the others, so that a
// hole in one, or a kernel that lacks it, is not a hole in the cage.
//
//	parent (supervisor)                          child (worker)
//	┌───────────────────────┐   stdin, stdout    ┌───────────────────────────────────────────────┐
//	│ a thread that forks   │ ─────────────────▶ │ files         nothing open but stdio          │
//	│ and lives as long as  │ ◀───────────────── │ rlimit        memory, core, file size, fds    │
//	│ the child             │       stderr       │ no-new-privs  no setuid program helps it      │
//	│                       │ ◀── (last 16 KiB)  │ uid           a number nobody else has        │
//	│ End: TERM … KILL to   │                    │ capabilities  none, in all threads            │
//	│ the child's own group │                    │ undumpable    no ptrace, no core              │
//	│                       │                    │ pdeathsig     SIGKILL when the parent ends    │
//	│ Death: why it ended   │                    │ landlock      no path, no port, no signal out │
//	└───────────────────────┘                    │ seccomp       memory, threads, time, stdio    │
//	                                             └───────────────────────────────────────────────┘
//
//	against                              stops it
//	a list of 1<<40 elements             rlimit (RLIMIT_DATA; RLIMIT_AS would count what Go only reserves)
//	a worker that outlives its parent    pdeathsig
//	reading or writing files             seccomp, landlock; uid for what is not the world's
//	the network                          seccomp; landlock for TCP (not multipath TCP)
//	signals to other processes           seccomp, uid; landlock from v6
//	another program, another process     seccomp; uid (RLIMIT_NPROC bounds a fork bomb)
//	reading other processes' memory      seccomp, uid, capabilities
//	what the parent had open             files
//	new code in memory                   seccomp (nothing becomes executable)
//
// Enter puts the rings on in the order of the picture: each needs what the
// next one takes away. The parent's death signal comes after the uid, because
// a change of uid clears it; seccomp comes last, because it forbids the system
// calls that the others are made of. Every ring covers all threads: Go has
// several before main begins.
package cage

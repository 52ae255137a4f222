package cage

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A ring is one layer of the cage. put puts it on all threads and returns the
// words it is reported with; a ring that cannot be had here is an error.
type ring struct {
	name string
	put  func(settings) (string, error)
}

// rings stand in the order they are put on; see the package comment.
var rings = []ring{
	{"files", closeInherited},
	{"rlimit", limitResources},
	{"no-new-privs", noNewPrivs},
	{"uid", dropUID},
	{"capabilities", dropCapabilities},
	{"undumpable", undumpable},
	{"pdeathsig", dieWithParent},
	{"landlock", restrictPaths},
	{"seccomp", filterSyscalls},
}

// Enter shuts the calling process into its cage and returns the rings that are
// active, such as "rlimit", "uid", "landlock v7", "seccomp". It must be called
// before anything untrusted is read, and never twice.
//
// A ring that this kernel, container or user does not offer is left out. The
// error is not nil if what must stand does not: rlimit, pdeathsig,
// no-new-privs, and one of uid and seccomp. The caller then exits.
func Enter(o Options) ([]string, error) {
	return enter(o, func(string) bool { return true })
}

// enter puts on the rings that want asks for. Only tests ask for less than all.
func enter(o Options, want func(name string) bool) ([]string, error) {
	s, err := o.settings()
	if err != nil {
		return nil, err
	}
	// seccomp and no_new_privs must meet on one thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var active, words []string
	var missing []error
	for _, r := range rings {
		if r.name == "seccomp" {
			startPoller()
		}
		if !want(r.name) {
			continue
		}
		as, err := r.put(s)
		if err != nil {
			missing = append(missing, fmt.Errorf("cage: %s: %w", r.name, err))
			continue
		}
		active, words = append(active, r.name), append(words, as)
	}
	if lacking := mustStand(active); lacking != "" {
		err := fmt.Errorf("cage: there is no %s here, without which no script is run", lacking)
		return words, errors.Join(append([]error{err}, missing...)...)
	}
	return words, nil
}

// mustStand names what is lacking among the active rings; "" if nothing is.
func mustStand(active []string) string {
	var lacking []string
	for _, name := range []string{"rlimit", "pdeathsig", "no-new-privs"} {
		if !slices.Contains(active, name) {
			lacking = append(lacking, name)
		}
	}
	if !slices.Contains(active, "uid") && !slices.Contains(active, "seccomp") {
		lacking = append(lacking, "uid or seccomp")
	}
	return strings.Join(lacking, ", ")
}

// startPoller makes the runtime open its epoll descriptor, which it else does
// at the first timer: after seccomp that is too late, and a fatal error.
func startPoller() { time.Sleep(time.Nanosecond) }

package fault

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/proc"
)

// Places of targets that are no containers.
const (
	PlaceNetns = "netns" // a network namespace of the agent's host
	PlacePID   = "pid"   // a process of the agent's host
)

// namedNetns is where ip netns keeps names.
const namedNetns = "/run/netns"

// OnHost says whether a target expression names something of the agent's host.
func OnHost(expr string) bool {
	place, _, _ := strings.Cut(expr, ":")
	return strings.Contains(expr, ":") && (place == PlaceNetns || place == PlacePID)
}

// CheckHost says what is wrong with such an expression, if anything.
func CheckHost(expr string) error {
	place, what, _ := strings.Cut(expr, ":")
	switch {
	case place == PlacePID:
		if n, err := strconv.Atoi(what); err != nil || n < 1 || strconv.Itoa(n) != what {
			return fmt.Errorf("got target %q, want pid: and the number of a process", expr)
		}
	case strings.HasPrefix(what, "/"):
		if filepath.Clean(what) != what {
			return fmt.Errorf("got target %q, want netns:%s", expr, filepath.Clean(what))
		}
	case what == "" || what == "." || what == ".." || strings.Contains(what, "/"):
		return fmt.Errorf("got target %q, want netns: and a name that `ip netns` shows, or an absolute path", expr)
	}
	return nil
}

// Host finds what such an expression names now: one generation of it. A process
// is told from its successor by when it started, a namespace by its inode, and
// both by the boot.
func Host(expr string) (Target, error) {
	if err := CheckHost(expr); err != nil {
		return Target{}, err
	}
	place, what, _ := strings.Cut(expr, ":")
	t := Target{Name: expr, Place: place}
	if place == PlacePID {
		t.PID, _ = strconv.Atoi(what) // CheckHost has seen that it is a number
		st, err := proc.Stat(t.PID)
		if err != nil {
			return t, refuse("%v", err)
		}
		t.StartedAt = strconv.FormatUint(st.Start, 10)
		t.ID = fmt.Sprintf("pid-%s-%d-%s", proc.Boot(), t.PID, t.StartedAt)
		return t, nil
	}
	t.Path = what
	if !strings.HasPrefix(what, "/") {
		t.Path = filepath.Join(namedNetns, what)
	}
	ns, err := netns.Open(t.Path)
	if err != nil {
		return t, err
	}
	t.ID = hostNetnsID(ns.ID())
	return t, ns.Close()
}

func hostNetnsID(id netns.ID) string {
	return fmt.Sprintf("netns-%s-%d-%d", proc.Boot(), id.Dev, id.Inode)
}

// Noun names the target in a sentence.
func (t Target) Noun() string {
	if t.Place == "" {
		return "container " + t.Name
	}
	return t.Name
}

// hold holds the target's process; it is refused if it is another by now.
func (t Target) hold() (*process, error) {
	fd, err := unix.PidfdOpen(t.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, refuse("%s has ended", t.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be held: %w", t.Name, err)
	}
	p := &process{pid: t.PID, fd: fd}
	now, err := Host(t.Name)
	if err == nil && now.ID != t.ID {
		err = refuse("%s is another process by now: resolve the target again", t.Name)
	}
	if err == nil && !p.alive() {
		err = refuse("%s has ended", t.Name)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// netns opens the target's network namespace.
func (t Target) netns() (*netns.Namespace, error) {
	if t.Place == PlacePID {
		p, err := t.hold()
		if err != nil {
			return nil, err
		}
		defer p.close()
		ns, err := netns.OfProcess(t.PID)
		if err == nil && !p.alive() {
			err = errors.Join(refuse("%s has just ended", t.Name), ns.Close())
		}
		return ns, err
	}
	ns, err := netns.Open(t.Path)
	if err != nil {
		return nil, refuse("%s is gone: %v", t.Name, err)
	}
	if hostNetnsID(ns.ID()) != t.ID {
		return nil, errors.Join(refuse("%s is another namespace by now: resolve the target again", t.Name), ns.Close())
	}
	return ns, nil
}

// A life is what a fault's end depends on.
type life interface {
	alive() bool
	close()
}

// pathLife is a namespace's: it ends when its name is gone, or another's.
type pathLife struct{ t Target }

func (l pathLife) alive() bool {
	ns, err := l.t.netns()
	if err != nil {
		return false
	}
	return ns.Close() == nil
}

func (pathLife) close() {}

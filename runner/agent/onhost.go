package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	"github.com/containerd/errdefs"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/runner/protocol"
)

// Targets of the host itself, with or without an engine: netns:NAME, pid:N. They
// carry no label: only the operator's --allow opts them in, word for word.

// onHost resolves such an expression. What is a container's is meant by its
// container, which has labels and a policy.
func (f *finder) onHost(ctx context.Context, text string) (fault.Target, error) {
	if err := fault.CheckHost(text); err != nil {
		return fault.Target{}, protocol.Errorf(protocol.CodeBad, "%v", err)
	}
	t, err := fault.Host(text)
	switch {
	case errors.Is(err, fault.ErrRefused) || errors.Is(err, os.ErrNotExist):
		return t, protocol.Errorf(protocol.CodeNoTarget, "target %q means nothing on this host: %v", text, err)
	case errors.Is(err, os.ErrPermission):
		return t, protocol.Errorf(protocol.CodeRefused, "target %q cannot be seen: %v: run as root", text, err)
	case err != nil:
		return t, protocol.Errorf(protocol.CodeRefused, "target %q: %v", text, err)
	}
	t.Allowed = slices.Contains(f.allow, text)
	return t, f.ofContainer(ctx, t)
}

// permitHost is permit for them: it looks again, whatever the supervisor sent.
func (f *finder) permitHost(ctx context.Context, kind string, t fault.Target) error {
	now, err := f.onHost(ctx, t.Name)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", kind, err)
	case now.ID != t.ID || now.Place != t.Place || now.Path != t.Path || now.PID != t.PID:
		return protocol.Errorf(protocol.CodeRefused, "%s: %s is another one by now: resolve the target again", kind, t.Name)
	case !now.Allowed:
		return protocol.Errorf(protocol.CodeRefused, "%s: %s has not opted in, and has no label to do so: run with --allow %s", kind, t.Name, t.Name)
	}
	for _, never := range f.never {
		if same, _ := fault.Host(never.Expr); never.Expr == t.Name || same.ID == t.ID {
			return protocol.Errorf(protocol.CodeRefused, "%s: %v", kind, never.Refuse(t.Name))
		}
	}
	return nil
}

var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// ofContainer refuses what belongs to a container of this engine.
func (f *finder) ofContainer(ctx context.Context, t fault.Target) error {
	if f.engine.missing != nil {
		return nil
	}
	pids := []int{t.PID}
	if t.Place == fault.PlaceNetns {
		var err error
		if pids, err = inNamespace(t); err != nil {
			return err
		}
	}
	for _, pid := range pids {
		groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)) // it may have ended
		id := containerID.FindString(string(groups))
		if id == "" {
			continue
		}
		ask, cancel := f.engine.ask(ctx)
		c, err := f.engine.ContainerInspect(ask, id)
		cancel()
		if errdefs.IsNotFound(err) {
			continue // of another engine
		}
		if err != nil {
			return f.engine.away(err)
		}
		return protocol.Errorf(protocol.CodeRefused, "target %q belongs to container %s: name that instead", t.Name, ownName([]string{c.Name}))
	}
	return nil
}

// inNamespace has the processes that live in a network namespace.
func inNamespace(t fault.Target) ([]int, error) {
	ns, err := netns.Open(t.Path)
	if err != nil {
		return nil, err
	}
	defer ns.Close() //nolint:errcheck // read only
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err != nil {
			continue
		}
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)) // it may have ended
		if link == ns.ID().String() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

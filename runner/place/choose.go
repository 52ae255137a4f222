package place

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
)

// Where agents run.
const (
	Auto      = "auto"
	Local     = "local"     // a child process
	InsideOne = "container" // a container on the engine
)

// Choose turns auto into one of the others: local where this process is root
// on the engine's own host. Where the engine does not answer it is local, which
// says so.
func Choose(ctx context.Context, kind string) (string, error) {
	switch kind {
	case Local, InsideOne:
		return kind, nil
	case Auto:
	default:
		return "", fmt.Errorf("--agent: got %q, want auto, local or container", kind)
	}
	if os.Getuid() != 0 {
		return InsideOne, nil
	}
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return Local, nil
	}
	defer c.Close() //nolint:errcheck // nothing waits on it
	if !strings.HasPrefix(c.DaemonHost(), "unix://") {
		return InsideOne, nil
	}
	here, err := here(ctx, c)
	if err != nil || here {
		return Local, nil
	}
	return InsideOne, nil
}

// lister is what here asks of an engine.
type lister interface {
	ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error)
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
	Info(ctx context.Context) (system.Info, error)
}

// here says whether the engine's host is this one: a socket may lead into a
// virtual machine. A container's process that can be seen here is proof, and
// one that lives and cannot be seen the contrary; where none runs, the name and
// the kernel must do.
func here(ctx context.Context, c lister) (bool, error) {
	all, err := c.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return false, err
	}
	for _, k := range all {
		pid := process(ctx, c, k.ID)
		if pid <= 0 {
			continue // it has just ended
		}
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err == nil && strings.Contains(string(groups), k.ID) {
			return true, nil
		}
		if process(ctx, c, k.ID) == pid { // else it has ended in between
			return false, nil
		}
	}
	info, err := c.Info(ctx)
	if err != nil {
		return false, err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false, err
	}
	return info.Name == unix.ByteSliceToString(u.Nodename[:]) && info.KernelVersion == unix.ByteSliceToString(u.Release[:]), nil
}

// process is the number of a container's init process; 0 if it has none.
func process(ctx context.Context, c lister, id string) int {
	seen, err := c.ContainerInspect(ctx, id)
	if err != nil || seen.ContainerJSONBase == nil || seen.State == nil {
		return 0
	}
	return seen.State.Pid
}

// socketFor is the engine's socket as its own host sees it. A rootless engine
// has it where its user sees it; every other path may lead into a virtual
// machine, in which it has the usual one.
func socketFor(given, host string) string {
	if given != "" {
		return given
	}
	if path, ok := strings.CutPrefix(host, "unix://"); ok && strings.HasPrefix(path, "/run/user/") {
		return path
	}
	return DefaultSocket
}

package fault

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

type neighbours interface {
	ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error)
	NetworkInspect(ctx context.Context, id string, options network.InspectOptions) (network.Inspect, error)
}

// A holder finds who has the port or the address that a start has lacked.
type holder struct {
	c    container.InspectResponse
	text string // what the engine said
}

var taken = regexp.MustCompile(`(?i)already (allocated|in use)`)

// name adds the holder to the engine's error, where it can be found.
func (h holder) name(ctx context.Context, w World, err error) error {
	if !taken.MatchString(h.text) {
		return err
	}
	if port := h.port(); port != "" {
		return fmt.Errorf("%w; port %s is held by %s", err, port, h.ofPort(ctx, w, port))
	}
	if ip, by := h.ofAddress(ctx, w); ip != "" {
		return fmt.Errorf("%w; address %s is held by %s", err, ip, by)
	}
	return err
}

// port is the published port that the engine's words name.
func (h holder) port() string {
	if h.c.HostConfig == nil {
		return ""
	}
	for _, bindings := range h.c.HostConfig.PortBindings {
		for _, b := range bindings {
			if b.HostPort != "" && regexp.MustCompile(`:`+regexp.QuoteMeta(b.HostPort)+`\b`).MatchString(h.text) {
				return b.HostPort
			}
		}
	}
	return ""
}

func (h holder) ofPort(ctx context.Context, w World, port string) string {
	list, err := w.Engine.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("publish", port))})
	if err == nil {
		for _, c := range list {
			if c.ID != h.c.ID && len(c.Names) > 0 {
				return "container " + strings.TrimPrefix(c.Names[0], "/")
			}
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		if by := listener(uint16(n)); by != "" {
			return by
		}
	}
	return "a process on the engine's host (see it with: ss -lptn 'sport = :" + port + "')"
}

// ofAddress looks for the container that has one of our fixed addresses.
func (h holder) ofAddress(ctx context.Context, w World) (ip, by string) {
	if h.c.NetworkSettings == nil {
		return "", ""
	}
	for name, n := range h.c.NetworkSettings.Networks {
		if n == nil || n.IPAMConfig == nil || n.IPAMConfig.IPv4Address == "" {
			continue
		}
		on, err := w.Engine.NetworkInspect(ctx, name, network.InspectOptions{})
		if err != nil {
			continue
		}
		for id, e := range on.Containers {
			if addr, _, _ := strings.Cut(e.IPv4Address, "/"); addr == n.IPAMConfig.IPv4Address && id != h.c.ID {
				return addr, "container " + e.Name
			}
		}
	}
	return "", ""
}

// listener names the process of this host that listens on a TCP port; empty if
// none is seen.
func listener(port uint16) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() { // sl local remote state tx:rx tr:when retrnsmt uid timeout inode
			col := strings.Fields(lines.Text())
			if len(col) > 9 && col[3] == "0A" && strings.HasSuffix(col[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+col[9]+"]"] = true
			}
		}
		_ = f.Close() // read only
	}
	if len(inodes) == 0 {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && inodes[to] {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
		}
	}
	return ""
}

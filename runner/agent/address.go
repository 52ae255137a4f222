package agent

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"chaosrunner/runner/protocol"
)

// address says where a container's port can be reached from the supervisor: as
// it is published, else by the container's own address.
func (e *engine) address(ctx context.Context, in protocol.Address) (protocol.Addressed, error) {
	ctx, cancel := e.ask(ctx)
	defer cancel()
	c, err := e.ContainerInspect(ctx, in.Container)
	if err != nil {
		return protocol.Addressed{}, e.away(err)
	}
	if host, port := e.published(c, in.Port); port != "" {
		return protocol.Addressed{Address: net.JoinHostPort(host, port), Published: true}, nil
	}
	if ip := ownAddress(c); ip != "" {
		return protocol.Addressed{Address: net.JoinHostPort(ip, strconv.Itoa(in.Port))}, nil
	}
	return protocol.Addressed{}, protocol.Errorf(protocol.CodeFailed,
		"agent: port %d of container %s is not published, and the container has no address now: is it running?",
		in.Port, strings.TrimPrefix(c.Name, "/"))
}

// published prefers what is bound now to what will be bound: the engine may
// choose another port with each start.
func (e *engine) published(c container.InspectResponse, port int) (host, hostPort string) {
	var bindings []nat.PortBinding
	at := nat.Port(fmt.Sprintf("%d/tcp", port))
	if c.NetworkSettings != nil {
		bindings = c.NetworkSettings.Ports[at]
	}
	if len(bindings) == 0 && c.HostConfig != nil {
		bindings = c.HostConfig.PortBindings[at]
	}
	for _, b := range bindings {
		if b.HostPort == "" || b.HostPort == "0" {
			continue
		}
		host := b.HostIP
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = e.host()
		}
		return host, b.HostPort
	}
	return "", ""
}

// host is where the engine's published ports are.
func (e *engine) host() string {
	u, err := url.Parse(e.DaemonHost())
	if err != nil {
		return "127.0.0.1"
	}
	return cmp.Or(u.Hostname(), "127.0.0.1")
}

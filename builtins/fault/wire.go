package fault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/proc"
)

// A wire is a target's network namespace as Prepare saw it. It stands in the
// ledger.
type wire struct {
	subject
	Boot    string `json:"boot,omitempty"` // the inode means nothing after another
	Dev     uint64 `json:"ns_dev,omitempty"`
	Inode   uint64 `json:"ns_inode,omitempty"`
	Sandbox string `json:"ns_path,omitempty"` // where the engine keeps it
	Shared  string `json:"shared,omitempty"`  // the containers that live in it too
}

func (w *wire) ns() netns.ID { return netns.ID{Dev: w.Dev, Inode: w.Inode} }

// reach looks at the target's network namespace and refuses the host's. The
// namespace that it returns is open.
func (w *wire) reach(ctx context.Context, world World, t Target) (*netns.Namespace, error) {
	if world.Wires == nil {
		return nil, refuse("this agent has no network to harm")
	}
	if t.Place != "" {
		w.subject = subject{Target: t}
		return w.enter(ctx, world)
	}
	c, err := w.look(ctx, world, t)
	if err != nil {
		return nil, err
	}
	if c.HostConfig != nil && c.HostConfig.NetworkMode.IsHost() {
		if err := hostNetwork(world, t); err != nil {
			return nil, err
		}
	}
	if w.Shared, err = sharers(ctx, world, c); err != nil {
		return nil, err
	}
	if c.NetworkSettings != nil {
		w.Sandbox = c.NetworkSettings.SandboxKey
	}
	return w.enter(ctx, world)
}

// enter opens the namespace of the target's process, and keeps its identity
// where that is not known yet.
func (w *wire) enter(ctx context.Context, world World) (*netns.Namespace, error) {
	if w.Target.Place != "" {
		ns, err := w.Target.netns()
		if err != nil {
			return nil, err
		}
		if err := w.ours(ns, world); err != nil {
			return nil, errors.Join(err, ns.Close())
		}
		return ns, nil
	}
	p, blind, err := w.grip(ctx, world)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, refuse("the network of %s cannot be entered from here: %v; run with --agent container", w.Target.Name, blind)
	}
	defer p.close()
	ns, err := netns.OfProcess(p.pid)
	if err == nil && !p.alive() {
		err = errors.Join(refuse("container %s has just ended by itself", w.Target.Name), ns.Close())
	}
	if err != nil {
		return nil, err
	}
	if err := w.ours(ns, world); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// ours keeps the namespace's identity, or compares it with what Prepare saw.
func (w *wire) ours(ns *netns.Namespace, world World) error {
	id := ns.ID()
	if w.Inode == 0 {
		w.Boot, w.Dev, w.Inode = proc.Boot(), id.Dev, id.Inode
	}
	if w.ns() != id {
		return refuse("%s is in another network namespace by now: resolve the target again", w.Target.Noun())
	}
	host, err := hostNamespaces()
	if err != nil {
		return err
	}
	if slices.Contains(host, id) {
		return hostNetwork(world, w.Target)
	}
	return nil
}

// hostNetwork refuses the host's own namespace, unless the operator allows it.
func hostNetwork(world World, t Target) error {
	if err := world.Allows().RootNetns(); err != nil {
		return refuse("%s lives in the host's network namespace, and the fault would harm the host and all that is on it: %v", t.Noun(), err)
	}
	return nil
}

// hostNamespaces are the host's: that of its first process, and our own.
func hostNamespaces() (ids []netns.ID, err error) {
	for _, open := range []func() (*netns.Namespace, error){netns.Current, func() (*netns.Namespace, error) { return netns.OfProcess(1) }} {
		ns, err := open()
		if errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, ns.ID())
		if err := ns.Close(); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// sharers are the other containers in the target's network namespace: they are
// one target with it.
func sharers(ctx context.Context, world World, c container.InspectResponse) (string, error) {
	owner := c.ID
	if c.HostConfig != nil && c.HostConfig.NetworkMode.IsContainer() {
		owner = c.HostConfig.NetworkMode.ConnectedContainer()
	}
	var running []container.Summary
	err := ask(ctx, inspectTimeout, "list", func(ctx context.Context) (err error) {
		running, err = world.Engine.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("status", "running"))})
		return err
	})
	var names []string
	for _, o := range running {
		if o.ID == c.ID || len(o.Names) == 0 {
			continue
		}
		name := strings.TrimPrefix(o.Names[0], "/")
		mode := container.NetworkMode(o.HostConfig.NetworkMode)
		if o.ID == owner || name == owner || mode.IsContainer() && mode.ConnectedContainer() == owner {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", "), err
}

// life holds what the fault lives with: the target's process, or the name of a
// namespace that has none.
func (w *wire) life(ctx context.Context, world World) (life, error) {
	switch w.Target.Place {
	case PlaceNetns:
		return pathLife{w.Target}, nil
	case PlacePID:
		return w.Target.hold()
	}
	p, _, err := w.grip(ctx, world)
	if err == nil && p == nil {
		err = errors.New("the target's process is out of sight")
	}
	if err != nil {
		return nil, err // and no life of type *process
	}
	return p, nil
}

// Beside implements [Wide].
func (w *wire) Beside() []string {
	if w.Shared == "" {
		return nil
	}
	return strings.Split(w.Shared, ", ")
}

// Space implements [Wide].
func (w *wire) Space() Target {
	return Target{Name: "the network namespace of " + w.Target.Noun(), Place: PlaceNetns, ID: hostNetnsID(w.ns())}
}

// find opens the namespace again, from what the ledger says alone; nil if there
// is no such namespace any more.
func (w *wire) find() (*netns.Namespace, error) {
	if w.Inode == 0 || w.Boot != proc.Boot() {
		return nil, nil
	}
	paths := []string{fmt.Sprintf("/proc/%d/ns/net", w.Target.PID), w.Sandbox, w.Target.Path}
	if others, err := filepath.Glob("/proc/[0-9]*/ns/net"); err == nil {
		paths = append(paths, others...) // who shares it may have outlived the target
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		ns, err := netns.Open(path)
		if err != nil {
			continue // gone, or none of ours to see
		}
		if ns.ID() == w.ns() {
			return ns, nil
		}
		if err := ns.Close(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// deleteTable is the command that mends what a table of ours does.
func (w *wire) deleteTable(name string) string {
	return w.nsenter() + " nft delete table inet " + name
}

// nsenter begins a command in the target's network namespace.
func (w *wire) nsenter() string {
	switch w.Target.Place {
	case PlaceNetns:
		return "nsenter --net=" + w.Target.Path
	case PlacePID:
		return fmt.Sprintf("nsenter -n -t %d", w.Target.PID)
	}
	return fmt.Sprintf("nsenter -n -t $(docker inspect -f '{{.State.Pid}}' %s)", w.Target.Name)
}

// peerAddresses resolves peers, each an address, a network, or a target.
func peerAddresses(ctx context.Context, w World, peers []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, p := range peers {
		if prefix, err := netip.ParsePrefix(p); err == nil {
			all = append(all, prefix.Masked())
			continue
		}
		if addr, err := netip.ParseAddr(p); err == nil {
			all = append(all, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		if w.Addresses == nil {
			return nil, refuse("peers: got %q, and this agent knows no targets", p)
		}
		addrs, err := w.Addresses(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
		if len(addrs) == 0 {
			return nil, refuse("peers: %s has no address: is it running, and on a network?", p)
		}
		for _, a := range addrs {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	return slices.Compact(all), nil
}

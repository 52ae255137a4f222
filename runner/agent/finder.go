package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

// A finder says which containers target expressions mean, and which of them
// may be harmed.
type finder struct {
	engine  *engine
	project string
	allow   []string
	never   []policy.Target
}

func (f *finder) resolve(ctx context.Context, in protocol.Resolve) (protocol.Resolved, error) {
	var out protocol.Resolved
	var all []candidate
	if !slices.ContainsFunc(in.Targets, fault.OnHost) || slices.ContainsFunc(in.Targets, func(text string) bool { return !fault.OnHost(text) }) {
		var err error
		if all, err = f.list(ctx); err != nil {
			return out, err
		}
	}
	known := map[string]fault.Target{}
	for _, text := range in.Targets {
		if fault.OnHost(text) {
			t, err := f.onHost(ctx, text)
			if err != nil {
				return out, err
			}
			out.Matches = append(out.Matches, protocol.Match{Expr: text, Targets: []fault.Target{t}})
			continue
		}
		found, err := f.find(all, text)
		if err != nil {
			return out, err
		}
		m := protocol.Match{Expr: text}
		for _, c := range found {
			t, seen := known[c.id]
			if !seen {
				if t, err = f.target(ctx, c); errdefs.IsNotFound(err) {
					continue // gone since the list was made
				} else if err != nil {
					return out, err
				}
				known[c.id] = t
			}
			m.Targets = append(m.Targets, t)
		}
		if len(m.Targets) == 0 {
			return out, f.nothing(all, text)
		}
		out.Matches = append(out.Matches, m)
	}
	return out, nil
}

// list has every container, stopped ones too, but what `compose run` made.
func (f *finder) list(ctx context.Context) ([]candidate, error) {
	ctx, cancel := f.engine.ask(ctx)
	defer cancel()
	containers, err := f.engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, f.engine.away(err)
	}
	var all []candidate
	for _, c := range containers {
		if len(c.Names) > 0 && !strings.EqualFold(c.Labels[labelOneOff], "true") {
			all = append(all, candidate{id: c.ID, name: ownName(c.Names), labels: c.Labels})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.project(), b.project()), cmp.Compare(a.service(), b.service()),
			cmp.Compare(a.index(), b.index()), cmp.Compare(a.name, b.name))
	})
	return all, nil
}

// ownName skips the names that links of other containers have given.
func ownName(names []string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return strings.TrimPrefix(names[0], "/")
}

func (f *finder) find(all []candidate, text string) ([]candidate, error) {
	e, err := parseExpr(text)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeBad, "%v", err)
	}
	var services, names []candidate
	for _, c := range all {
		ours := f.project == "" || c.project() == f.project
		switch {
		case ours && e.byService(c):
			services = append(services, c)
		case e.byName(c) && (ours || !e.glob): // a container's full name is no accident
			names = append(names, c)
		}
	}
	found := services
	if len(services) == 0 || e.glob {
		found = append(found, names...)
	}
	if len(found) == 0 {
		return nil, f.nothing(all, text)
	}
	return found, f.ambiguous(found, text)
}

// ambiguous refuses a service that several projects have.
func (f *finder) ambiguous(found []candidate, text string) error {
	projects := map[string]map[string]bool{}
	for _, c := range found {
		if c.service() != "" {
			if projects[c.service()] == nil {
				projects[c.service()] = map[string]bool{}
			}
			projects[c.service()][c.project()] = true
		}
	}
	for _, service := range slices.Sorted(maps.Keys(projects)) {
		if in := projects[service]; len(in) > 1 {
			return protocol.Errorf(protocol.CodeRefused, "target %q is ambiguous: the projects %s all have a service %s; choose one with --project",
				text, strings.Join(slices.Sorted(maps.Keys(in)), ", "), service)
		}
	}
	return nil
}

// nothing is the error for a target that means nothing.
func (f *finder) nothing(all []candidate, text string) error {
	where := "on this engine"
	if f.project != "" {
		where = "in project " + f.project
	}
	names := map[string]bool{}
	for _, c := range all {
		if f.project == "" || c.project() == f.project {
			names[cmp.Or(c.service(), c.name)] = true
		}
	}
	hint := "; there is no container at all: is the system up?"
	if len(names) > 0 {
		hint = fmt.Sprintf("; there is %s", strings.Join(nearest(text, slices.Sorted(maps.Keys(names)), 5), ", "))
	}
	return protocol.Errorf(protocol.CodeNoTarget, "target %q means nothing %s%s", text, where, hint)
}

func (f *finder) target(ctx context.Context, c candidate) (fault.Target, error) {
	ctx, cancel := f.engine.ask(ctx)
	defer cancel()
	seen, err := f.engine.ContainerInspect(ctx, c.id)
	if err != nil {
		return fault.Target{}, f.engine.away(err)
	}
	if seen.ContainerJSONBase == nil || seen.State == nil {
		return fault.Target{}, fmt.Errorf("agent: the engine says nothing of the state of %s", c.name)
	}
	t := fault.Target{
		Name: c.name, Service: c.service(), Index: c.index(), Project: c.project(),
		ID: c.id, StartedAt: seen.State.StartedAt, Allowed: f.allows(c),
	}
	if seen.State.Running {
		t.PID = seen.State.Pid
	}
	return t, nil
}

// addresses are those of the running containers that an expression means, on
// any of their networks.
func (f *finder) addresses(ctx context.Context, text string) ([]netip.Addr, error) {
	all, err := f.list(ctx)
	if err != nil {
		return nil, err
	}
	found, err := f.find(all, text)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, c := range found {
		of, err := f.addressesOf(ctx, c.id, 0)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		addrs = append(addrs, of...)
	}
	return addrs, nil
}

// addressesOf follows a container that lives in another's network.
func (f *finder) addressesOf(ctx context.Context, id string, depth int) ([]netip.Addr, error) {
	ask, cancel := f.engine.ask(ctx)
	defer cancel()
	c, err := f.engine.ContainerInspect(ask, id)
	if err != nil {
		return nil, f.engine.away(err)
	}
	if c.HostConfig != nil && c.HostConfig.NetworkMode.IsContainer() && depth < 8 {
		return f.addressesOf(ctx, c.HostConfig.NetworkMode.ConnectedContainer(), depth+1)
	}
	if c.HostConfig != nil && c.HostConfig.NetworkMode.IsHost() {
		return nil, protocol.Errorf(protocol.CodeRefused, "%s uses the host's network, and has no address of its own: name the host's addresses", ownName([]string{c.Name}))
	}
	var addrs []netip.Addr
	if c.NetworkSettings == nil {
		return nil, nil
	}
	for _, n := range c.NetworkSettings.Networks {
		for _, text := range []string{n.IPAddress, n.GlobalIPv6Address} {
			if a, err := netip.ParseAddr(text); err == nil {
				addrs = append(addrs, a)
			}
		}
	}
	return addrs, nil
}

// permit refuses a container that has not opted in, or that the policy puts out
// of bounds. It asks the engine, not the target that the supervisor has sent.
func (f *finder) permit(ctx context.Context, kind string, t fault.Target) error {
	if t.Place != "" {
		return f.permitHost(ctx, kind, t)
	}
	ctx, cancel := f.engine.ask(ctx)
	defer cancel()
	seen, err := f.engine.ContainerInspect(ctx, t.ID)
	if errdefs.IsNotFound(err) {
		return protocol.Errorf(protocol.CodeRefused, "%s: container %s (%.12s) is gone: resolve the target again", kind, t.Name, t.ID)
	}
	if err != nil {
		return f.engine.away(err)
	}
	c := candidate{id: seen.ID, name: strings.TrimPrefix(seen.Name, "/")}
	if seen.Config != nil {
		c.labels = seen.Config.Labels
	}
	if seen.ID != t.ID { // an id's prefix or a name would do for the engine
		return protocol.Errorf(protocol.CodeBad, "%s: got target id %q, want all 64 digits", kind, t.ID)
	}
	if err := f.forbidden(c); err != nil {
		return protocol.Errorf(protocol.CodeRefused, "%s: %v", kind, err)
	}
	if f.allows(c) {
		return nil
	}
	return protocol.Errorf(protocol.CodeRefused, "%s: container %s has not opted in: label it %s=true, or run with --allow %s",
		kind, c.name, labelAllow, cmp.Or(c.service(), c.name))
}

// forbidden refuses what the policy says must never be touched, of whatever
// project it is.
func (f *finder) forbidden(c candidate) error {
	for _, t := range f.never {
		if e, err := parseExpr(t.Expr); err != nil || e.byService(c) || e.byName(c) {
			return t.Refuse("container " + c.name)
		}
	}
	return nil
}

// spare refuses a fault that harms containers beside its own, if the policy puts
// one of them out of bounds.
func (f *finder) spare(ctx context.Context, kind string, names []string) error {
	if len(names) == 0 || len(f.never) == 0 {
		return nil
	}
	all, err := f.list(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if !slices.Contains(names, c.name) {
			continue
		}
		if err := f.forbidden(c); err != nil {
			return protocol.Errorf(protocol.CodeRefused, "%s: it would harm container %s too: %v", kind, c.name, err)
		}
	}
	return nil
}

func (f *finder) allows(c candidate) bool {
	if c.labels[labelAllow] == "true" {
		return true
	}
	return slices.ContainsFunc(f.allow, func(text string) bool {
		e, err := parseExpr(text)
		ours := f.project == "" || c.project() == f.project
		return err == nil && (ours && e.byService(c) || e.byName(c) && (ours || !e.glob))
	})
}

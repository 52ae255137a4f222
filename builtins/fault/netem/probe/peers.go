package probe

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"chaosrunner/builtins/fault/netem"
)

// peers are addresses that the filter means and that may answer, the likeliest
// first: those it names, then gateways, neighbours, and the first address of
// each network, which is a bridge's own. It is called inside the namespace.
func peers(f netem.Filter) ([]netip.Addr, error) {
	var all []netip.Addr
	add := func(ip net.IP) {
		a, ok := netip.AddrFromSlice(ip)
		a = a.Unmap()
		if ok && meant(f, a) && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	for _, p := range f.Peers {
		if p.IsSingleIP() {
			add(p.Addr().AsSlice())
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("probe: routes: %w", err)
	}
	for _, r := range routes {
		add(r.Gw)
	}
	neighbours, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("probe: neighbours: %w", err)
	}
	for _, n := range neighbours {
		if n.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PERMANENT) != 0 {
			add(n.IP)
		}
	}
	for _, r := range routes {
		if r.Gw == nil && r.Dst != nil && r.Dst.IP.To4() != nil && r.Scope == netlink.SCOPE_LINK {
			first := slices.Clone(r.Dst.IP.To4())
			first[3] |= 1
			add(first)
		}
	}
	return all, nil
}

func meant(f netem.Filter, a netip.Addr) bool {
	if !a.IsValid() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		return false
	}
	return len(f.Peers) == 0 || slices.ContainsFunc(f.Peers, func(p netip.Prefix) bool { return p.Contains(a) })
}

package netem

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The directions, as the target sees them.
const (
	Out  = "out"
	In   = "in"
	Both = "both"
)

// Protocols that a filter can name. Of icmp the one of the address's family is
// meant.
var Protocols = []string{"tcp", "udp", "icmp"}

// A Filter says which packets of a target are meant. Loopback never is.
type Filter struct {
	Direction string         `json:"direction"`           // Out, In or Both
	Peers     []netip.Prefix `json:"peers,omitempty"`     // of the other side, any of them; empty: all
	Protocol  string         `json:"protocol,omitempty"`  // empty: all
	Port      uint16         `json:"port,omitempty"`      // of the target; 0: all
	PeerPort  uint16         `json:"peer_port,omitempty"` // of the other side; 0: all
	Share     float64        `json:"share,omitempty"`     // of flows, by a hash that both directions share; 0 and 1: all
}

// Validate refuses what can never be right. Its errors name the parameter.
func (f *Filter) Validate() error {
	if f.Direction == "" {
		f.Direction = Out
	}
	if f.Share == 1 {
		f.Share = 0
	}
	switch {
	case !slices.Contains([]string{Out, In, Both}, f.Direction):
		return fmt.Errorf("direction: got %q, want out, in or both", f.Direction)
	case f.Protocol != "" && !slices.Contains(Protocols, f.Protocol):
		return fmt.Errorf("protocol: got %q, want one of %s", f.Protocol, strings.Join(Protocols, ", "))
	case (f.Port != 0 || f.PeerPort != 0) && f.Protocol == "icmp":
		return errors.New("port: got one with protocol icmp, which has none")
	case !share(f.Share):
		return fmt.Errorf("traffic: got %g%%, want more than 0%% and at most 100%%", f.Share*100)
	}
	for _, p := range f.Peers {
		if !p.IsValid() {
			return fmt.Errorf("peers: got %v, want an address or a network such as 10.0.0.0/8", p)
		}
	}
	return nil
}

// All says that the filter means every packet of its direction.
func (f Filter) All() bool {
	return len(f.Peers) == 0 && f.Protocol == "" && f.Port == 0 && f.PeerPort == 0 && f.Partial() == 0
}

// Partial is the share of flows, if it is less than all; else 0.
func (f Filter) Partial() float64 {
	if f.Share >= 1 {
		return 0
	}
	return f.Share
}

// Equal says that two filters mean the same packets.
func (f Filter) Equal(o Filter) bool {
	return f.Direction == o.Direction && f.Protocol == o.Protocol && f.Port == o.Port && f.PeerPort == o.PeerPort &&
		f.Partial() == o.Partial() && slices.Equal(sorted(f.Peers), sorted(o.Peers))
}

// Disjoint says that no packet is meant by both.
func (f Filter) Disjoint(o Filter) bool {
	differ := func(a, b uint16) bool { return a != 0 && b != 0 && a != b }
	switch {
	case f.Direction != o.Direction && f.Direction != Both && o.Direction != Both:
	case differ(f.Port, o.Port), differ(f.PeerPort, o.PeerPort):
	case f.Protocol != "" && o.Protocol != "" && f.Protocol != o.Protocol:
	case f.Protocol == "icmp" && (o.Port != 0 || o.PeerPort != 0):
	case o.Protocol == "icmp" && (f.Port != 0 || f.PeerPort != 0):
	case apart(f.Peers, o.Peers):
	default:
		return false
	}
	return true
}

// Overlaps says that some packets, but not all, are meant by both: such faults
// do not compose on every engine, and are refused.
func (f Filter) Overlaps(o Filter) bool { return !f.Equal(o) && !f.Disjoint(o) }

// apart says that two sets of peers have no address in common; an empty one
// has them all.
func apart(a, b []netip.Prefix) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	for _, p := range a {
		if slices.ContainsFunc(b, p.Overlaps) {
			return false
		}
	}
	return true
}

func sorted(all []netip.Prefix) []netip.Prefix {
	masked := make([]netip.Prefix, len(all))
	for i, p := range all {
		masked[i] = p.Masked()
	}
	slices.SortFunc(masked, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(masked)
}

// String is the filter in words: "out tcp from port 8080 to 10.0.0.3".
func (f Filter) String() string {
	var b strings.Builder
	switch f.Direction {
	case In:
		b.WriteString("incoming")
	case Both:
		b.WriteString("all")
	default:
		b.WriteString("outgoing")
	}
	if f.Protocol != "" {
		b.WriteString(" " + f.Protocol)
	}
	b.WriteString(" packets")
	if f.Port != 0 {
		fmt.Fprintf(&b, " of port %d", f.Port)
	}
	if len(f.Peers) > 0 || f.PeerPort != 0 {
		b.WriteString(cmp.Or(map[string]string{In: " from ", Both: " to and from "}[f.Direction], " to "))
		b.WriteString(peersText(f.Peers))
		if f.PeerPort != 0 {
			fmt.Fprintf(&b, " port %d", f.PeerPort)
		}
	}
	if s := f.Partial(); s > 0 {
		fmt.Fprintf(&b, " of %.3g%% of the flows", s*100)
	}
	return b.String()
}

func peersText(all []netip.Prefix) string {
	if len(all) == 0 {
		return "any"
	}
	var names []string
	for _, p := range all {
		if p.IsSingleIP() {
			names = append(names, p.Addr().String())
		} else {
			names = append(names, p.String())
		}
	}
	return strings.Join(names, ", ")
}

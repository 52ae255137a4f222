package fault

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"chaosrunner/builtins/fault/netem"
)

// Netem makes the target's network misbehave for some of its packets.
type Netem struct {
	netem.Emulation
	Direction string   `json:"direction,omitempty"`
	Peers     []string `json:"peers,omitempty"` // target expressions, addresses, networks
	Protocol  string   `json:"protocol,omitempty"`
	Port      int      `json:"port,omitempty"`
	PeerPort  int      `json:"peer_port,omitempty"`
	Share     float64  `json:"traffic,omitempty"` // of flows; 0: all
	Engine    string   `json:"engine,omitempty"`  // empty: what the kernel has
}

// Validate implements [Params].
func (n *Netem) Validate() error {
	if err := n.Emulation.Validate(); err != nil {
		return err
	}
	for name, port := range map[string]int{"port": n.Port, "peer_port": n.PeerPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("%s: got %d, want 1 to 65535", name, port)
		}
	}
	names := append([]string{"", Auto}, EngineNames()...)
	if !slices.Contains(names, n.Engine) {
		return fmt.Errorf("engine: got %q, want one of %s", n.Engine, strings.Join(names[1:], ", "))
	}
	f := n.filter(nil)
	if err := f.Validate(); err != nil {
		return err
	}
	n.Direction = f.Direction
	for _, p := range n.Peers {
		if p == "" {
			return errors.New("peers: got an empty one")
		}
	}
	return nil
}

// The engines, and what chooses between them.
const (
	Auto    = "auto" // what the kernel has, the better one first
	Qdisc   = "qdisc"
	NFQueue = "nfqueue"
)

// EngineNames are all engines that can be asked for.
func EngineNames() []string { return []string{Qdisc, NFQueue} }

// Traffic is the share of the target's traffic that is touched, as far as
// blast_radius counts it.
func (n *Netem) Traffic() float64 {
	if n.Share == 0 {
		return 1
	}
	return n.Share
}

func (n *Netem) filter(peers []netip.Prefix) netem.Filter {
	return netem.Filter{
		Direction: n.Direction, Peers: peers, Protocol: n.Protocol,
		Port: uint16(n.Port), PeerPort: uint16(n.PeerPort), Share: n.Share,
	}
}

// Clash says that two faults on one target would meet some packets both, but not
// all, as far as peers' names tell: no two names are one peer.
func (n *Netem) Clash(o *Netem) bool {
	a, b := n.filter(nil), o.filter(nil)
	if a.Disjoint(b) {
		return false
	}
	mine, theirs := slices.Sorted(slices.Values(n.Peers)), slices.Sorted(slices.Values(o.Peers))
	switch {
	case slices.Equal(mine, theirs):
		return a.Overlaps(b)
	case len(mine) == 0 || len(theirs) == 0:
		return true
	}
	return slices.ContainsFunc(mine, func(p string) bool { return slices.Contains(theirs, p) })
}

// sameFilter says that a change leaves alone which packets are meant.
func (n *Netem) sameFilter(o *Netem) bool {
	return n.filter(nil).Equal(o.filter(nil)) && slices.Equal(n.Peers, o.Peers)
}

// text is the emulation in words: "delay 400ms ± 50ms (normal), loss 1%".
func (n *Netem) text() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	e := n.Emulation
	if e.Delay > 0 {
		add("delay %v%s", e.Delay, jitterText(e))
	}
	shareText := func(name string, share, correlation float64) {
		if share > 0 {
			add("%s %s%s", name, percent(share), correlated(correlation))
		}
	}
	shareText("loss", e.Loss, e.LossCorrelation)
	if m := e.LossModel; m != nil && m.GE != nil {
		add("loss in bursts (p %s, r %s, loss %s in them and %s outside)", percent(m.GE.P), percent(m.GE.R), percent(m.GE.OneH), percent(m.GE.OneK))
	} else if m != nil {
		s := m.State
		add("loss by 4 states (p13 %s, p31 %s, p32 %s, p23 %s, p14 %s)", percent(s.P13), percent(s.P31), percent(s.P32), percent(s.P23), percent(s.P14))
	}
	shareText("duplicate", e.Duplicate, e.DuplicateCorrelation)
	shareText("corrupt", e.Corrupt, e.CorruptCorrelation)
	shareText("reorder", e.Reorder, e.ReorderCorrelation)
	if e.Rate > 0 {
		add("rate %s/s", netem.Bits(e.Rate))
	}
	if s := e.Slot; s != nil {
		add("slots of %v to %v", s.Min, s.Max)
	}
	return strings.Join(parts, ", ")
}

func jitterText(e netem.Emulation) string {
	if e.Jitter == 0 {
		return ""
	}
	shape := e.Distribution
	if shape == "" {
		shape = netem.Uniform
	}
	return fmt.Sprintf(" ± %v (%s%s)", e.Jitter, shape, correlated(e.Correlation))
}

func correlated(c float64) string {
	if c == 0 {
		return ""
	}
	return ", correlation " + percent(c)
}

func percent(x float64) string { return fmt.Sprintf("%.4g%%", x*100) }

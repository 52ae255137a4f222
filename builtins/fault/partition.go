package fault

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netem/probe"
	"chaosrunner/builtins/fault/netns"
)

// Partition drops every packet between the target and its peers, both ways.
type Partition struct {
	Peers []string `json:"peers"` // target expressions, addresses, networks
}

// Validate implements [Params].
func (p *Partition) Validate() error {
	if len(p.Peers) == 0 || slices.Contains(p.Peers, "") {
		return fmt.Errorf("peers: got %q, want at least one, none empty", p.Peers)
	}
	return nil
}

// partition is a Partition on one target: two rules in our own table in its
// network namespace, which the kernel deletes with this process.
type partition struct {
	Partition
	wire
	Between netem.Filter `json:"between"`
	Table   string       `json:"table"` // kernels before the owner flag keep it

	keeper *keeper
	proof  *proof

	mu    sync.Mutex
	layer *nft.Layer
	found []Finding
}

func (p *partition) Params() Params { return &p.Partition }

func (p *partition) Prepare(ctx context.Context, w World, t Target) error {
	ns, err := p.reach(ctx, w, t)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // read only
	peers, err := peerAddresses(ctx, w, p.Peers)
	if err != nil {
		return err
	}
	if err := w.Wires.tables.Available(ns.Fd()); err != nil {
		return refuse("%v", err)
	}
	p.Between, p.Table = netem.Filter{Direction: netem.Both, Peers: peers}, w.Wires.tables.Name()
	return nil
}

func (p *partition) Apply(ctx context.Context, w World) error {
	ns, err := p.enter(ctx, w)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	defer ns.Close() //nolint:errcheck // read only
	p.proof = newProof(ns, p.Between)
	layer, err := w.Wires.tables.Layer(ns.Fd())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	p.mu.Lock()
	p.layer = layer
	p.mu.Unlock()
	if err := layer.Set(between(p.Between)); err != nil {
		return err
	}
	if err := p.prove(ns); err != nil {
		return fmt.Errorf("it does not act: %w", err)
	}
	p.keeper = keep(w, p)
	return nil
}

func between(f netem.Filter) nft.Rule { return nft.Rule{Filter: f, Out: nft.Drop(), In: nft.Drop()} }

// prove sends a packet to each peer: none may be answered, and the rules must
// have counted them.
func (p *partition) prove(ns *netns.Namespace) error {
	var unanswered []string
	for _, peer := range p.probed() {
		answered, err := answers(ns, peer)
		if err != nil {
			continue // there is no way to it at all
		}
		if answered {
			return fmt.Errorf("%v still answers", peer)
		}
		unanswered = append(unanswered, peer.String())
	}
	packets, _, err := p.layer.Counts()
	if err != nil {
		return err
	}
	if len(unanswered) > 0 && packets == 0 {
		return errors.New("its rules have met no packet of those that were sent to " + strings.Join(unanswered, ", "))
	}
	before := " (" + p.proof.why + ")"
	if p.proof.probe != nil {
		before = fmt.Sprintf("; %v answered within %s before", p.proof.probe.Peer(), millis(p.proof.before))
	}
	text := "no answer from " + strings.Join(unanswered, ", ")
	if len(unanswered) == 0 {
		text = "no single peer can be probed"
	}
	p.add(Finding{Text: text + before, Figures: map[string]float64{"dropped": float64(packets)}})
	return nil
}

// probed are the peers that can be asked: those that are named, and who of a
// network answered before.
func (p *partition) probed() (all []netip.Addr) {
	const most = 16 // each takes its time
	for _, peer := range p.Between.Peers {
		if peer.IsSingleIP() {
			all = append(all, peer.Addr())
		}
	}
	if p.proof.probe != nil && !slices.Contains(all, p.proof.probe.Peer()) {
		all = append(all, p.proof.probe.Peer())
	}
	return all[:min(len(all), most)]
}

func (p *partition) add(f Finding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = append(p.found, f)
}

func (p *partition) trouble() <-chan error { return nil }

// moved drops the packets of other addresses: a peer has restarted.
func (p *partition) moved(ctx context.Context, w World) error {
	peers, err := peerAddresses(ctx, w, p.Peers)
	if err != nil {
		return nil //nolint:nilerr // a peer that is away has no address: the old ones are as good
	}
	f := netem.Filter{Direction: netem.Both, Peers: peers}
	if f.Equal(p.Between) {
		return nil
	}
	if err := p.layer.Set(between(f)); err != nil {
		return err
	}
	w.tell("peers have moved: %s, were %s", f, p.Between)
	p.Between = f
	return nil
}

func (p *partition) Undo(_ context.Context, w World, _ Past) (string, error) {
	if w.Wires == nil {
		return "", errors.New("this process has no network to mend")
	}
	p.keeper.end()
	if p.layer != nil { // of this process, whose table it is
		packets, _, err := p.layer.Counts()
		if err := p.layer.Close(); err != nil {
			return "", err
		}
		if err == nil {
			p.add(Finding{Text: fmt.Sprintf("%d packets were dropped", packets), Figures: map[string]float64{"dropped": float64(packets)}})
		}
		p.add(p.proof.gone(netem.Emulation{}))
		p.proof.close()
		return "", nil
	}
	p.proof.close()
	if p.Table == "" || p.Table == w.Wires.tables.Name() {
		return "it was not in", nil
	}
	ns, err := p.find()
	if err != nil {
		return "", err
	}
	if ns == nil {
		return "the target's network namespace is gone, and the fault with it", nil
	}
	defer ns.Close() //nolint:errcheck // read only
	return "", nft.Remove(ns.Fd(), p.Table)
}

// Findings implements [Witness].
func (p *partition) Findings() []Finding {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.found
	p.found = nil
	return found
}

// Lost implements [Fragile].
func (p *partition) Lost() <-chan error { return p.keeper.lost }

func (p *partition) Describe() Words {
	words := Words{
		Harm:   fmt.Sprintf("partition: drop %s of %s", p.Between, called(p.Target)),
		Remedy: fmt.Sprintf("let the packets of %s and %s pass", p.Target.Name, strings.Join(p.Peers, ", ")),
		Held:   HeldByKernel,
	}
	if p.Shared != "" {
		words.Warning = "its network namespace is also that of " + p.Shared
	}
	return words
}

func (p *partition) Mend() string { return p.deleteTable(p.Table) }

// answers says whether a peer answers an echo.
func answers(ns *netns.Namespace, peer netip.Addr) (bool, error) {
	to, err := probe.To(ns.Fd(), netem.Filter{}, peer)
	if err != nil {
		return false, err
	}
	defer to.Close()
	_, ok := to.Round(quick)
	return ok, nil
}

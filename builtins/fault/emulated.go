package fault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"chaosrunner/builtins/fault/netem"
)

// emulated is a Netem on one target:
//
//	Prepare   peers ─▶ addresses, the namespace, an engine that can do it, no other fault in its way
//	Apply     round trip before ─▶ engine ─▶ round trip under it ─▶ keep: the target lives, peers stay where they are
//	Undo      what this process holds, then what the ledger says; round trip after it
type emulated struct {
	Netem
	wire
	Job    netem.Job       `json:"job"`
	Used   string          `json:"used"`             // the engine
	Record json.RawMessage `json:"record,omitempty"` // the engine's own, for its Undo

	why   string // spoke against better engines
	claim *claim

	mu       sync.Mutex
	held     netem.Held
	keeper   *keeper
	proof    *proof
	findings []Finding
}

func (n *emulated) Params() Params { return &n.Netem }

func (n *emulated) Prepare(ctx context.Context, w World, t Target) error {
	ns, err := n.reach(ctx, w, t)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // read only
	peers, err := peerAddresses(ctx, w, n.Peers)
	if err != nil {
		return err
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	n.Job = netem.Job{ID: hex.EncodeToString(id), Filter: n.filter(peers), Emulation: n.Emulation}
	if err := w.Wires.meets(n.ns(), n.Job.Filter, nil); err != nil {
		return err
	}
	engine, why, err := w.Wires.choose(ns.Fd(), n.Engine, n.Emulation, n.Job.Filter)
	if err != nil {
		return err
	}
	n.Used, n.why = engine.Name(), why
	if n.Record, err = engine.Prepare(ctx, ns.Fd(), n.Job); err != nil {
		return refuse("engine %s: %v", n.Used, err)
	}
	return nil
}

func (n *emulated) Apply(ctx context.Context, w World) error {
	ns, err := n.enter(ctx, w)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	defer ns.Close() //nolint:errcheck // read only
	engine, err := w.Wires.named(n.Used)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	c := &claim{kind: "netem", target: n.Target.Name, text: n.text(), filter: n.Job.Filter}
	if err := w.Wires.take(n.ns(), c); err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	n.claim = c
	n.proof = newProof(ns, n.Job.Filter)
	held, err := engine.Apply(ctx, ns.Fd(), n.Job, n.Record)
	if err != nil {
		return fmt.Errorf("engine %s: %w", n.Used, err)
	}
	n.mu.Lock()
	n.held = held
	n.mu.Unlock()
	if err := n.prove(ctx, n.Emulation); err != nil {
		return err
	}
	n.keeper = keep(w, n)
	return nil
}

// prove measures that the emulation acts.
func (n *emulated) prove(ctx context.Context, e netem.Emulation) error {
	found, err := n.proof.acts(ctx, n.held, n.Job.Filter, e)
	if err != nil {
		return fmt.Errorf("engine %s: it does not act: %w", n.Used, err)
	}
	n.found(found)
	return nil
}

// Update implements [Updater].
func (n *emulated) Update(ctx context.Context, w World, params json.RawMessage) error {
	var to Netem
	if err := decode(params, &to); err != nil {
		return refuse("%v", err)
	}
	engine, err := w.Wires.named(n.Used)
	if err != nil {
		return err
	}
	switch {
	case !n.sameFilter(&to):
		return refuse("update: which packets are meant cannot change while it is in: undo it and inject another")
	case n.held == nil:
		return refuse("update: it is not in")
	}
	if err := engine.Can(to.Emulation, n.Job.Filter); err != nil {
		return refuse("engine %s: %v", n.Used, err)
	}
	n.mu.Lock()
	err = n.held.Update(ctx, n.Job.Filter, to.Emulation)
	if err == nil {
		n.Netem.Emulation, n.Job.Emulation = to.Emulation, to.Emulation
	}
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("engine %s: %w", n.Used, err)
	}
	return n.prove(ctx, to.Emulation)
}

// moved gives it other addresses: a peer has restarted.
func (n *emulated) moved(ctx context.Context, w World) error {
	peers, err := peerAddresses(ctx, w, n.Peers)
	if err != nil {
		return nil //nolint:nilerr // a peer that is away has no address: the old ones are as good
	}
	f := n.filter(peers)
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.Equal(n.Job.Filter) {
		return nil
	}
	if err := w.Wires.move(n.ns(), n.claim, f); err != nil {
		return err
	}
	if err := n.held.Update(ctx, f, n.Job.Emulation); err != nil {
		return err
	}
	w.tell("peers have moved: %s, were %s", f, n.Job.Filter)
	n.Job.Filter = f
	return nil
}

func (n *emulated) Undo(ctx context.Context, w World, _ Past) (string, error) {
	if w.Wires == nil {
		return "", errors.New("this process has no network to mend")
	}
	n.keeper.end()
	if n.held != nil {
		stats, err := n.held.Stats()
		if err == nil {
			n.found(accounts(stats, n.proof))
		}
		if err := n.held.Undo(ctx); err != nil {
			return "", fmt.Errorf("engine %s: %w", n.Used, err)
		}
		n.found(n.proof.gone(n.Emulation))
		n.held, n.Used = nil, ""
	}
	if n.Used == "" { // out already
		n.release(w)
		return "", nil
	}
	ns, err := n.find()
	if err != nil {
		return "", err
	}
	if ns == nil {
		n.release(w)
		return "the target's network namespace is gone, and the fault with it", nil
	}
	defer ns.Close() //nolint:errcheck // read only
	engine, err := w.Wires.named(n.Used)
	if err == nil {
		err = engine.Undo(ctx, ns.Fd(), n.Record)
	}
	if err != nil {
		return "", fmt.Errorf("engine %s: %w", n.Used, err)
	}
	n.release(w)
	return "", nil
}

func (n *emulated) release(w World) {
	if n.claim != nil {
		w.Wires.drop(n.ns(), n.claim)
		n.claim = nil
	}
	n.proof.close()
}

func (n *emulated) found(f Finding) {
	if f.Text == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.findings = append(n.findings, f)
}

// Findings implements [Witness].
func (n *emulated) Findings() []Finding {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.findings
	n.findings = nil
	return found
}

// Lost implements [Fragile].
func (n *emulated) Lost() <-chan error { return n.keeper.lost }

func (n *emulated) Describe() Words {
	words := Words{
		Harm:    fmt.Sprintf("netem on %s: %s on %s; engine %s", called(n.Target), n.text(), n.Job.Filter, n.Used),
		Remedy:  "let the packets of " + n.Target.Name + " pass as before",
		Held:    HeldByKernel,
		Warning: n.Emulation.Warning(),
	}
	if n.Used == Qdisc {
		words.Held = HeldByNamespace
	}
	add := func(text string) {
		if words.Warning != "" {
			words.Warning += "; "
		}
		words.Warning += text
	}
	if n.Shared != "" {
		add("its network namespace is also that of " + n.Shared)
	}
	if n.Engine == Auto && n.why != "" {
		words.Harm += " (" + n.why + ")"
	}
	return words
}

func (n *emulated) Mend() string {
	if n.Used == Qdisc {
		return n.nsenter() + " tc qdisc del dev eth0 root"
	}
	return n.deleteTable("chaosrunner-…")
}
func (n *emulated) trouble() <-chan error { return n.held.Lost() }

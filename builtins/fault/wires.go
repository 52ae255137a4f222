package fault

import (
	"fmt"
	"strings"
	"sync"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/nfqueue"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netem/qdisc"
	"chaosrunner/builtins/fault/netns"
)

// Wires are the network faults of one process: the engines that it has, and
// which packets of which namespace are meant by whom.
type Wires struct {
	engines []netem.Engine
	tables  *nft.Tables

	mu     sync.Mutex
	claims map[netns.ID][]*claim
}

// A claim is one fault's packets.
type claim struct {
	kind, target, text string
	filter             netem.Filter
}

// NewWires makes a process's wires, with the better engine first.
func NewWires() *Wires {
	tables := nft.NewTables()
	return &Wires{engines: []netem.Engine{qdisc.New(), nfqueue.New(tables)}, tables: tables, claims: map[netns.ID][]*claim{}}
}

// meets refuses a filter that means some of the packets, but not all, that
// another fault means already: how two such faults add up would depend on the
// engine. Equal filters compose, and disjoint ones do not meet.
func (ws *Wires) meets(ns netns.ID, f netem.Filter, but *claim) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.meetsLocked(ns, f, but)
}

func (ws *Wires) meetsLocked(ns netns.ID, f netem.Filter, but *claim) error {
	for _, c := range ws.claims[ns] {
		if c != but && c.filter.Overlaps(f) {
			return refuse("its packets (%s) are in part those of the %s of %s (%s: %s), which is in: make the filters equal or disjoint, or undo that one first",
				f, c.kind, c.target, c.filter, c.text)
		}
	}
	return nil
}

// take takes the claim, unless another fault was faster.
func (ws *Wires) take(ns netns.ID, c *claim) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if err := ws.meetsLocked(ns, c.filter, nil); err != nil {
		return err
	}
	ws.claims[ns] = append(ws.claims[ns], c)
	return nil
}

// move gives the claim other packets: a peer has moved.
func (ws *Wires) move(ns netns.ID, c *claim, f netem.Filter) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if err := ws.meetsLocked(ns, f, c); err != nil {
		return err
	}
	c.filter = f
	return nil
}

func (ws *Wires) drop(ns netns.ID, c *claim) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for i, o := range ws.claims[ns] {
		if o == c {
			ws.claims[ns] = append(ws.claims[ns][:i:i], ws.claims[ns][i+1:]...)
			return
		}
	}
}

// choose picks the engine for a fault: the one that was asked for, or the first
// that the kernel has and that can do all of it. why says, for people, what
// spoke against the better ones.
func (ws *Wires) choose(ns int, asked string, e netem.Emulation, f netem.Filter) (engine netem.Engine, why string, err error) {
	var no []string
	for _, engine := range ws.engines {
		if asked != "" && asked != Auto && asked != engine.Name() {
			continue
		}
		cannot := engine.Available(ns)
		if cannot == nil {
			cannot = engine.Can(e, f)
		}
		if cannot == nil {
			return engine, strings.Join(no, "; "), nil
		}
		no = append(no, engine.Name()+": "+cannot.Error())
	}
	if len(no) == 0 {
		no = append(no, "this runner has no such engine")
	}
	return nil, "", refuse("engine: got %q, and it cannot be done: %s", asked, strings.Join(no, "; "))
}

// named is the engine that a ledger names.
func (ws *Wires) named(name string) (netem.Engine, error) {
	for _, e := range ws.engines {
		if e.Name() == name {
			return e, nil
		}
	}
	return nil, fmt.Errorf("engine: got %q, which this runner does not have", name)
}

package nft

import (
	"fmt"
	"maps"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A Layer is one fault's place in the path of packets.
type Layer struct {
	tables *Tables
	table  *table
	place  int
	closed bool
}

// Passed is the socket priority (SO_PRIORITY) of packets that have passed this
// layer and are sent again: it and those before it let them through, those
// behind it see them.
func (l *Layer) Passed() uint32 { return passed | uint32(l.place+1)<<4 }

const (
	passed = 0x7ca70000 // no class that a qdisc would have; the lowest bits, its band, are 0
	last   = passed | 0xfff0
)

// Held says that the kernel deletes the rules by itself when this process dies.
func (l *Layer) Held() bool { return l.table.held }

// Set replaces the layer's rules, all at once: no packet meets half of them.
func (l *Layer) Set(rules ...Rule) error {
	l.tables.mu.Lock()
	defer l.tables.mu.Unlock()
	if l.closed {
		return fmt.Errorf("nftables: the fault has ended")
	}
	return l.set(rules)
}

func (l *Layer) set(rules []Rule) error {
	t := l.table
	made := map[string]*nftables.Chain{}
	for _, d := range directions {
		body, name := d.expressions(rules, l.Passed(), l.tables.queue), l.chain(d)
		chain := t.made[name]
		if chain == nil && body == nil {
			continue
		}
		if chain == nil {
			policy := nftables.ChainPolicyAccept
			chain = t.conn.AddChain(&nftables.Chain{
				Name: name, Table: t.nft, Type: nftables.ChainTypeFilter, Policy: &policy,
				Hooknum: d.hook, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(firstPlace + l.place)),
			})
			made[name] = chain
		}
		t.conn.FlushChain(chain)
		for _, exprs := range body {
			t.conn.AddRule(&nftables.Rule{Table: t.nft, Chain: chain, Exprs: exprs})
		}
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: set rules: %w", err)
	}
	maps.Copy(t.made, made)
	return nil
}

func (l *Layer) chain(d direction) string { return fmt.Sprintf("%s%d", d.name, l.place) }

// Counts is how much has met the rules since they were set.
func (l *Layer) Counts() (packets, bytes uint64, err error) {
	l.tables.mu.Lock()
	defer l.tables.mu.Unlock()
	if l.closed {
		return 0, 0, fmt.Errorf("nftables: the fault has ended")
	}
	for _, d := range directions {
		chain := l.table.made[l.chain(d)]
		if chain == nil {
			continue
		}
		rules, err := l.table.conn.GetRules(l.table.nft, chain)
		if err != nil {
			return 0, 0, fmt.Errorf("nftables: read counters: %w", err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if c, ok := e.(*expr.Counter); ok {
					packets, bytes = packets+c.Packets, bytes+c.Bytes
				}
			}
		}
	}
	return packets, bytes, nil
}

// Close takes the layer's rules away; the last one deletes the table, and with
// it every packet that still waits in a queue of the namespace: let go of them
// first. A second Close does nothing.
func (l *Layer) Close() error {
	ts, t := l.tables, l.table
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	t.taken[l.place] = false
	if t.taken != [layers]bool{} {
		return l.set(nil)
	}
	delete(ts.byNS, t.id)
	return t.close()
}

// Package nfqueue emulates a network in this process, for kernels without
// sch_netem. A rule in our own table hands packets to queues that this process
// reads:
//
//	out: program ─▶ output hook ─▶ queue ─▶ copied, dropped ─┄ held ┄─▶ sent again by a raw socket ─▶ conntrack, NAT, wire
//	in:  wire ─▶ prerouting hook ─▶ queue ─┄ held there ┄─▶ accepted ─▶ conntrack, NAT, program
//
// An outgoing packet that waits in the kernel counts against its socket, and
// TCP stops sending after a millisecond's worth: so it is freed at once, and a
// copy waits. Packets that a raw socket cannot send as they are, larger than
// the interface takes, wait in the kernel all the same.
//
// All of it is held by sockets. When this process dies, whatever way, the
// kernel takes rule and queues away and traffic flows.
//
// Not touched: loopback, ARP and IPv6 neighbour discovery, packets that the
// namespace only forwards on their way out.
package nfqueue

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
)

// Engine is the engine "nfqueue".
type Engine struct {
	tables *nft.Tables

	mu   sync.Mutex
	live map[string]*fault // by job
}

var (
	_ netem.Engine = (*Engine)(nil)
	_ netem.Held   = (*fault)(nil)
)

// New makes the engine of a process, upon its tables.
func New(tables *nft.Tables) *Engine {
	return &Engine{tables: tables, live: map[string]*fault{}}
}

// Name is "nfqueue".
func (*Engine) Name() string { return "nfqueue" }

// Available says what the kernel lacks.
func (e *Engine) Available(ns int) error {
	if err := e.tables.Available(ns); err != nil {
		return fmt.Errorf("nfqueue: %w", err)
	}
	return netns.Inside(ns, func() error {
		q, err := openQueue()
		if err != nil {
			return fmt.Errorf("nfqueue: %w (CONFIG_NETFILTER_NETLINK_QUEUE)", err)
		}
		q.close()
		return nil
	})
}

// Can: it can do all.
func (*Engine) Can(netem.Emulation, netem.Filter) error { return nil }

// record is what is left of a fault where the kernel does not clean up itself.
type record struct {
	Table string `json:"table"`
	Job   string `json:"job"`
}

// Prepare only names the table.
func (e *Engine) Prepare(_ context.Context, _ int, job netem.Job) (json.RawMessage, error) {
	return json.Marshal(record{e.tables.Name(), job.ID})
}

// Apply makes the queues, and then the rule that leads to them.
func (e *Engine) Apply(_ context.Context, ns int, job netem.Job, _ json.RawMessage) (netem.Held, error) {
	f, err := start(e.tables, ns, job)
	if err != nil {
		return nil, fmt.Errorf("nfqueue: %w", err)
	}
	f.gone = func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.live, job.ID)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live[job.ID] = f
	return f, nil
}

// Undo takes back a fault of this process, or what a dead one has left.
func (e *Engine) Undo(ctx context.Context, ns int, data json.RawMessage) error {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("nfqueue: record: %w", err)
	}
	e.mu.Lock()
	f := e.live[r.Job]
	e.mu.Unlock()
	switch {
	case f != nil:
		return f.Undo(ctx)
	case r.Table == e.tables.Name(): // never applied, or undone
		return nil
	}
	if err := nft.Remove(ns, r.Table); err != nil {
		return fmt.Errorf("nfqueue: %w", err)
	}
	return nil
}

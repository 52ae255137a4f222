package netem

import (
	"context"
	"encoding/json"
	"time"
)

// A Job is one network fault in one namespace.
type Job struct {
	ID        string    `json:"id"` // unique on this host: names what the engine puts there
	Filter    Filter    `json:"filter"`
	Emulation Emulation `json:"emulation"`
}

// An Engine makes emulations happen. ns is an open network namespace, good for
// as long as the call takes: an engine that needs it longer duplicates it.
type Engine interface {
	// Name is "qdisc" or "nfqueue".
	Name() string
	// Available says why it cannot work in that namespace: what the kernel lacks.
	Available(ns int) error
	// Can says which parameter it cannot do. The error begins with its name.
	Can(Emulation, Filter) error
	// Prepare looks, refuses (a foreign root qdisc), and returns what Undo needs.
	// It touches nothing.
	Prepare(ctx context.Context, ns int, job Job) (record json.RawMessage, err error)
	// Apply does it and returns once the kernel holds it. What it has begun
	// before an error is taken back by Undo with the same record.
	Apply(ctx context.Context, ns int, job Job, record json.RawMessage) (Held, error)
	// Undo takes back what a record says, in any process, after any death. It is
	// idempotent and touches only what Apply with that record put there.
	Undo(ctx context.Context, ns int, record json.RawMessage) error
}

// Held is an emulation that acts. Its methods may be called at any time, from
// any goroutine, until Undo has returned.
type Held interface {
	// Update changes it without a gap. Packets that are held keep their time.
	Update(ctx context.Context, f Filter, e Emulation) error
	// Stats says what it has done so far.
	Stats() (Stats, error)
	// Lost yields why it has stopped acting by itself, and is closed by Undo.
	Lost() <-chan error
	// Undo takes it back in order: what is held is let go, nothing is lost.
	Undo(ctx context.Context) error
}

// Stats is what an emulation has done.
type Stats struct {
	Packets    uint64 `json:"packets"`              // that met the filter
	Bytes      uint64 `json:"bytes"`                //
	Dropped    uint64 `json:"dropped,omitempty"`    // by loss
	Overflowed uint64 `json:"overflowed,omitempty"` // for want of room: the limit, or the kernel's queue
	Duplicated uint64 `json:"duplicated,omitempty"`
	Corrupted  uint64 `json:"corrupted,omitempty"`
	Reordered  uint64 `json:"reordered,omitempty"`
	Held       int    `json:"held,omitempty"` // now

	// Of the packets that were let go so far, if the engine measures it: how long
	// they were held.
	Delayed   uint64        `json:"delayed,omitempty"` // packets
	MeanDelay time.Duration `json:"mean_delay,omitempty"`
	MaxDelay  time.Duration `json:"max_delay,omitempty"`
}

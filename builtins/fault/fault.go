// Package fault is harm and its remedy, as data.
//
// A fault is a value that can be written to disk whole. It has two verbs that
// change the world, Apply and Undo, and one that only looks, Prepare. The
// agent calls them in this order, with its ledger in between:
//
//	Prepare (look, refuse) ─▶ ledger: the fault as JSON, fsynced ─▶ Apply (harm, verify)
//	                                          └────────── any ending ──────────▶ Undo
//
// Undo works from the JSON alone, in another process, after a reboot; it is
// idempotent, touches only what Apply put there, and takes a half-applied
// or never-applied fault like any other.
//
// A new kind is one file here and one row in Kinds.
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// A Target is one generation of one container, or of a process or a network
// namespace of the agent's host. Undo for one generation never touches its
// successor.
type Target struct {
	Name      string `json:"name"`              // the container's, without "/"
	Service   string `json:"service,omitempty"` // Compose's, if it has one
	Index     int    `json:"index,omitempty"`   // the replica's number in its service, from 1
	Project   string `json:"project,omitempty"` // Compose's
	Place     string `json:"place,omitempty"`   // what it is, if it is no container: PlaceNetns, PlacePID
	Path      string `json:"path,omitempty"`    // of a network namespace
	ID        string `json:"id"`                // 64 hex digits; of the host's what tells generations apart
	StartedAt string `json:"started_at"`        // as the engine says it
	PID       int    `json:"pid,omitempty"`     // of its init process on the engine's host; 0: not running
	Allowed   bool   `json:"allowed"`           // carries chaos.allow=true, or --allow names it
}

// A Fault is one harm to one target. It is used by one goroutine at a time and
// marshals to JSON with all that Undo needs.
type Fault interface {
	// Params is the kind's own parameters, a pointer to decode them into.
	Params() Params
	// Prepare looks at the target, refuses with ErrRefused, and keeps what Undo
	// will need. It touches nothing.
	Prepare(context.Context, World, Target) error
	// Apply harms, and returns once the harm is seen in place. When ctx ends it
	// stops waiting for what it started only where that can no longer land
	// after an Undo; it ends by itself within its engine calls' timeouts.
	Apply(context.Context, World) error
	// Undo makes one attempt to take the harm back; ctx carries the deadline.
	// The note says why there was nothing to do, if so.
	Undo(context.Context, World, Past) (note string, err error)
	// Describe says in words what Prepare has found that it would do.
	Describe() Words
	// Mend is the shell command with which a human takes the harm back.
	Mend() string
}

// Params are the parameters of one kind.
type Params interface {
	// Validate refuses what can never be right, and brings spellings to one form.
	Validate() error
}

// Words is a fault in words.
type Words struct {
	Harm   string // "kill -9 catalog (3f2a…) through the engine, which leaves it down"
	Remedy string // "start catalog and wait until it is healthy"
	Held   string // HeldByEngine, …
	// Warning is what people may not expect of it; mostly empty.
	Warning string
}

// Who holds a fault.
const (
	HeldByEngine  = "engine"  // stays until it is undone
	HeldByProcess = "process" // the same
	HeldByKernel  = "kernel"  // gone with the agent
	// HeldByNamespace stays until it is undone, or the target's network is gone.
	HeldByNamespace = "target's network"
)

// Past is what is known of a fault's history when it is undone.
type Past struct {
	// Settled: Apply is known to have ended well, or never to have begun. Else
	// what it asked of the engine may yet land.
	Settled bool
	// Again: an undo had begun before, so that a later generation of the target
	// may be the undo's own doing.
	Again bool
}

// World is what a fault may touch.
type World struct {
	Engine Engine
	// Turn waits until the engine has room for a heavy call, such as a start;
	// the deadline of an undo begins when it returns. Nil: at once.
	Turn func(context.Context) (release func(), err error)
	// Rules is what the operator allows beyond the ordinary; see [World.Allows].
	Rules Rules
	// Radius has the ids of the containers in the blast radius.
	Radius []string
	// Tell writes a remark of the fault into the run's journal. It never waits.
	// Nil: nobody listens.
	Tell func(string)
	// Wires are the network faults of this process. Nil: it has none.
	Wires *Wires
	// Addresses are those of the containers that a target expression means, on
	// any of their networks.
	Addresses func(ctx context.Context, expr string) ([]netip.Addr, error)
}

// Rules are an operator's policy. Each answer that is an error names the rule.
type Rules interface {
	HostDisk() error  // fill a disk that the host itself lives on
	RootNetns() error // harm the host's own network namespace
	IO() error        // slow a container's disks down
	Exec() error      // run programs in containers
}

// Allows is what the operator allows; without an operator, the least.
func (w World) Allows() Rules {
	if w.Rules == nil {
		return nobody{}
	}
	return w.Rules
}

type nobody struct{}

func (nobody) HostDisk() error { return refuse("nobody allows to fill the host's own disk") }
func (nobody) RootNetns() error {
	return refuse("nobody allows to harm the host's own network namespace")
}
func (nobody) IO() error   { return nil }
func (nobody) Exec() error { return nil }

func (w World) tell(format string, args ...any) {
	if w.Tell != nil {
		w.Tell(fmt.Sprintf(format, args...))
	}
}

func (w World) turn(ctx context.Context) (func(), error) {
	if w.Turn == nil {
		return func() {}, nil
	}
	return w.Turn(ctx)
}

// Engine is the part of the Docker client that faults use. Each of its parts
// is declared where it is used.
type Engine interface {
	inspector
	killer
	stopper
	pauser
	restarter
	starter
	execer
	neighbours
	informer
}

// ErrRefused is in the chain of every error with which Prepare refuses.
var ErrRefused = errors.New("refused")

// ErrNotBegun is in the chain of an error of Apply that came before any harm.
var ErrNotBegun = errors.New("not begun")

type refusal string

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == ErrRefused }

func refuse(format string, args ...any) error {
	return refusal(fmt.Sprintf(format, args...))
}

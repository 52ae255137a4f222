package builtins

import (
	"context"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// World is all that a script can reach. There are two: the link to the
// supervisor, and the rehearsal.
type World interface {
	Faults
	Eyes
	Probes
	Papers
}

// Faults are put in place, and ended early.
type Faults interface {
	Fault(ctx context.Context, in spec.Fault) (protocol.Handle, error)
	Change(ctx context.Context, in protocol.Change) error
	Release(ctx context.Context, in protocol.Release) error
}

// Eyes look and change nothing.
type Eyes interface {
	Targets(ctx context.Context, in protocol.Resolve) (protocol.Resolved, error)
	Observe(ctx context.Context, in protocol.Observe) (protocol.Figures, error)
	PromQL(ctx context.Context, in protocol.PromQL) (protocol.Figure, error)
}

// Probes ask a part of the system.
type Probes interface {
	HTTP(ctx context.Context, in protocol.HTTP) (protocol.HTTPReply, error)
	SQL(ctx context.Context, in protocol.SQL) (protocol.SQLReply, error)
	Logs(ctx context.Context, in protocol.Logs) (protocol.Logged, error)
}

// Papers are what is read and written down.
type Papers interface {
	Source(ctx context.Context, in protocol.Source) (protocol.Sourced, error)
	Note(ctx context.Context, in protocol.Note) error
	Register(ctx context.Context, in protocol.Rollback) error
}

package worker

import (
	"context"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// link is the World behind the supervisor.
type link struct{ peer *protocol.Peer }

// ask makes one call and reads its answer.
func ask[T any](ctx context.Context, l link, call string, in any) (T, error) {
	var out T
	err := l.peer.Call(ctx, call, in, &out)
	return out, err
}

func (l link) Fault(ctx context.Context, in spec.Fault) (protocol.Handle, error) {
	return ask[protocol.Handle](ctx, l, protocol.CallFault, in)
}

func (l link) Change(ctx context.Context, in protocol.Change) error {
	return l.peer.Call(ctx, protocol.CallChange, in, nil)
}

func (l link) Release(ctx context.Context, in protocol.Release) error {
	return l.peer.Call(ctx, protocol.CallRelease, in, nil)
}

func (l link) Targets(ctx context.Context, in protocol.Resolve) (protocol.Resolved, error) {
	return ask[protocol.Resolved](ctx, l, protocol.CallTargets, in)
}

func (l link) Observe(ctx context.Context, in protocol.Observe) (protocol.Figures, error) {
	return ask[protocol.Figures](ctx, l, protocol.CallObserve, in)
}

func (l link) HTTP(ctx context.Context, in protocol.HTTP) (protocol.HTTPReply, error) {
	return ask[protocol.HTTPReply](ctx, l, protocol.CallHTTP, in)
}

func (l link) SQL(ctx context.Context, in protocol.SQL) (protocol.SQLReply, error) {
	return ask[protocol.SQLReply](ctx, l, protocol.CallSQL, in)
}

func (l link) PromQL(ctx context.Context, in protocol.PromQL) (protocol.Figure, error) {
	return ask[protocol.Figure](ctx, l, protocol.CallPromQL, in)
}

func (l link) Logs(ctx context.Context, in protocol.Logs) (protocol.Logged, error) {
	return ask[protocol.Logged](ctx, l, protocol.CallLogs, in)
}

func (l link) Source(ctx context.Context, in protocol.Source) (protocol.Sourced, error) {
	return ask[protocol.Sourced](ctx, l, protocol.CallSource, in)
}

func (l link) Note(ctx context.Context, in protocol.Note) error {
	return l.peer.Call(ctx, protocol.CallNote, in, nil)
}

func (l link) Register(ctx context.Context, in protocol.Rollback) error {
	return l.peer.Call(ctx, protocol.CallRegister, in, nil)
}

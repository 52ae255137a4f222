package supervise

import (
	"context"
	"slices"
	"time"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
)

const (
	maxLogLines = 1000      // of one container
	maxLogBytes = 256 << 10 // of all
)

// promql is a number from the run's source, as the watcher would see it now.
func (r *run) promql(ctx context.Context, in protocol.PromQL, tell bool) (protocol.Figure, error) {
	if r.sources == nil || r.sources.eval == nil {
		return protocol.Figure{}, protocol.Errorf(protocol.CodeBad, "promql: nothing is scraped any more")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v := r.sources.value(ctx, spec.SLI{Kind: spec.KindPromQL, Query: in.Query}, r.watch.window(r.now()))
	out := protocol.Figure{Count: v.Total}
	if v.OK {
		out.Value = &v.V
	}
	if tell && r.live.Load() {
		r.journal.Record(journal.PromQL{Pos: in.Pos, Query: in.Query, Value: out.Value, Why: v.Why})
	}
	return out, nil
}

// logs is what the containers of a declared target have said.
func (r *run) logs(ctx context.Context, in protocol.Logs, tell bool) (protocol.Logged, error) {
	for _, t := range in.Targets {
		if !r.names(t) {
			return protocol.Logged{}, protocol.Errorf(protocol.CodeRefused, "logs: %s is no target of the blast radius, nor the host of a traffic, probe or metrics declaration", t)
		}
	}
	resolved, err := r.resolve(ctx, in.Targets)
	if err != nil {
		return protocol.Logged{}, err
	}
	targets := union(resolved.Matches)
	out := protocol.Logged{Lines: []string{}}
	for _, t := range targets {
		var got protocol.Logged
		if err := r.present().call(ctx, 20*time.Second, protocol.CallLogs, protocol.Tail{
			Container: t.ID, Since: in.Since, Contains: in.Contains, MaxLines: maxLogLines, MaxBytes: maxLogBytes / len(targets),
		}, &got); err != nil {
			return protocol.Logged{}, err
		}
		out.Lines = append(out.Lines, got.Lines...)
		out.Truncated = out.Truncated || got.Truncated
	}
	if tell && r.live.Load() {
		r.journal.Record(journal.Logs{Pos: in.Pos, Targets: in.Targets, Contains: in.Contains, Lines: len(out.Lines), Truncated: out.Truncated})
	}
	return out, nil
}

// names says that the script has declared a target by this name.
func (r *run) names(target string) bool {
	return slices.Contains(r.exp.BlastRadius.Targets, target) || r.declared(hostOf(target))
}

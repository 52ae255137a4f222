package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

// server answers the worker's calls for a run.
type server struct{ r *run }

func (s server) Event(string, json.RawMessage) {} // a worker has none

// Handle takes secrets out of what it answers; a script's own source has none.
func (s server) Handle(ctx context.Context, call string, body json.RawMessage) (any, error) {
	out, err := s.answer(ctx, call, body)
	if secrets := s.r.secrets.Load(); call != protocol.CallSource {
		return secrets.hide(out, secrets.answer), secrets.err(err)
	}
	return out, err
}

func (s server) answer(ctx context.Context, call string, body json.RawMessage) (any, error) {
	r := s.r
	switch call {
	case protocol.CallSource:
		return serve(body, func(in protocol.Source) (any, error) { return r.modules.Resolve(in.Path, in.From) })
	case protocol.CallTargets:
		return serve(body, func(in protocol.Resolve) (any, error) { return r.resolve(ctx, in.Targets) })
	case protocol.CallFault:
		return serve(body, func(in spec.Fault) (any, error) { return r.inject(in) })
	case protocol.CallRelease:
		return serve(body, func(in protocol.Release) (any, error) { return nil, r.release(in) })
	case protocol.CallChange:
		return serve(body, func(in protocol.Change) (any, error) { return nil, r.change(in) })
	case protocol.CallObserve:
		return serve(body, func(in protocol.Observe) (any, error) { return r.observe(in) })
	case protocol.CallHTTP:
		return serve(body, func(in protocol.HTTP) (any, error) { return r.http(ctx, in) })
	case protocol.CallSQL:
		return serve(body, func(in protocol.SQL) (any, error) { return r.sql(ctx, in) })
	case protocol.CallPromQL:
		return serve(body, func(in protocol.PromQL) (any, error) { return r.promql(ctx, in, true) })
	case protocol.CallLogs:
		return serve(body, func(in protocol.Logs) (any, error) { return r.logs(ctx, in, true) })
	case protocol.CallNote:
		return serve(body, func(in protocol.Note) (any, error) { return nil, r.note(in) })
	case protocol.CallRegister:
		return serve(body, func(in protocol.Rollback) (any, error) { return nil, r.register(ctx, in) })
	}
	return nil, protocol.Errorf(protocol.CodeUnknown, "supervisor: unknown call %q", call)
}

func serve[T any](body json.RawMessage, f func(T) (any, error)) (any, error) {
	var in T
	if err := protocol.Decode(body, &in); err != nil {
		return nil, err
	}
	return f(in)
}

func (r *run) resolve(ctx context.Context, exprs []string) (protocol.Resolved, error) {
	var out protocol.Resolved
	err := r.present().call(ctx, 30*time.Second, protocol.CallResolve, protocol.Resolve{Targets: exprs}, &out)
	return out, err
}

// inject is a fault call of the script, from the gate's second look to the
// fault seen in place on every target.
func (r *run) inject(f spec.Fault) (protocol.Handle, error) {
	resolved, err := r.resolve(r.ctx, f.Targets)
	if err != nil {
		return protocol.Handle{}, err
	}
	targets := union(resolved.Matches)
	live, ttl, err := r.admit(f, targets)
	if err != nil {
		return protocol.Handle{}, err
	}
	like := protocol.Apply{ID: live.handle.ID, Kind: f.Kind, Params: f.Params, TTL: ttl, Radius: r.inReach()}
	targets, words, err := r.apart(r.ctx, like, targets)
	if err != nil {
		r.forget(live)
		return protocol.Handle{}, err
	}
	r.mu.Lock()
	live.handle.Targets = targets
	r.mu.Unlock()
	event := journal.Inject{ID: live.handle.ID, Fault: f, Targets: targets, TTL: ttl}
	parts := make([]protocol.Apply, len(targets))
	for i, t := range targets {
		parts[i] = like
		parts[i].ID, parts[i].Target = report.PartID(live.handle.ID, i, len(targets)), t
		event.Harm, event.Remedy = append(event.Harm, words[i].Harm), append(event.Remedy, words[i].Remedy)
	}
	r.journal.Record(event)
	failpoint.Hit("run-inject")
	var all errgroup.Group
	found := make([][]fault.Finding, len(parts))
	for i, part := range parts {
		all.Go(func() (err error) { found[i], err = r.apply(part); return err })
	}
	if err := all.Wait(); err != nil {
		return protocol.Handle{}, err
	}
	if f.Duration > 0 {
		r.mu.Lock()
		live.timer = time.AfterFunc(f.Duration, func() { r.expire(live) })
		r.mu.Unlock()
	}
	failpoint.Hit("run-answer")
	out := live.handle
	out.Findings = slices.Concat(found...)
	return out, nil
}

// admit checks a fault against what was declared and takes its place in the
// run. From here on it counts as injected.
func (r *run) admit(f spec.Fault, targets []fault.Target) (*liveFault, time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.method || r.undoing {
		return nil, 0, protocol.Errorf(protocol.CodeClosed, "%s: the run is ending, nothing is injected any more", f.Kind)
	}
	if err := r.inRadius(f, targets); err != nil {
		return nil, 0, err
	}
	harmed := map[string]bool{}
	for _, other := range r.faults {
		for _, t := range other.handle.Targets {
			if !other.undone {
				harmed[t.ID] = true
			}
		}
	}
	for _, t := range targets {
		harmed[t.ID] = true
	}
	if most := r.exp.BlastRadius.AtMost; most > 0 && len(harmed) > most {
		return nil, 0, protocol.Errorf(protocol.CodeRefused, "%s: got %d containers harmed at once, want at most %d (blast_radius at_most)", f.Kind, len(harmed), most)
	}
	left := r.exp.BlastRadius.Duration
	if !r.first.IsZero() {
		left -= time.Since(r.first)
	}
	if f.Duration > left {
		return nil, 0, protocol.Errorf(protocol.CodeRefused, "%s: got a duration of %s, want at most the %s that are left of the blast radius", f.Kind, f.Duration, left.Round(time.Millisecond))
	}
	live := &liveFault{
		handle: protocol.Handle{ID: fmt.Sprintf("f%d", len(r.order)+1), Targets: targets},
		fault:  f, done: make(chan struct{}),
	}
	r.faults[live.handle.ID] = live
	r.order = append(r.order, live.handle.ID)
	// The agent's own clock is the backstop: the supervisor takes a fault back
	// in time, the agent soon after where the supervisor does not.
	ttl := left + protocol.Grace
	if f.Duration > 0 {
		ttl = f.Duration + protocol.Grace
	}
	return live, ttl, nil
}

// forget gives a fault's place back: it was refused before anything was done.
func (r *run) forget(live *liveFault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.faults, live.handle.ID)
}

func (r *run) apply(part protocol.Apply) ([]fault.Finding, error) {
	var applied protocol.Applied
	if err := r.agent.call(r.ctx, applyLimit, protocol.CallApply, part, &applied); err != nil {
		return nil, err
	}
	failpoint.Hit("run-applied")
	r.journal.Record(journal.Applied{ID: part.ID, Kind: part.Kind, Target: part.Target, Intent: applied.Intent, Applied: applied.Applied, Findings: applied.Findings})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first.IsZero() {
		r.first = applied.Applied
		r.capped = time.AfterFunc(r.exp.BlastRadius.Duration, r.overCap)
		r.watch.arm(true)
	}
	return applied.Findings, nil
}

func (r *run) overCap() {
	r.finish(journal.Stopping{Ending: report.Aborted, Reason: fmt.Sprintf("the blast radius' duration of %s has passed", r.exp.BlastRadius.Duration)})
}

func (r *run) describe(ctx context.Context, part protocol.Apply) (protocol.Described, error) {
	var words protocol.Described
	err := r.agent.call(ctx, 30*time.Second, protocol.CallDescribe, part, &words)
	return words, err
}

// apart has the agent look at a fault on each of its targets. Targets that it
// would harm as one, because they share a network namespace, are one.
func (r *run) apart(ctx context.Context, like protocol.Apply, targets []fault.Target) (kept []fault.Target, all []protocol.Described, err error) {
	seen := map[string]bool{}
	for _, t := range targets {
		part := like
		part.Target = t
		words, err := r.describe(ctx, part)
		if err != nil {
			return nil, nil, err
		}
		if words.Space != "" && seen[words.Space] {
			continue
		}
		seen[words.Space] = true
		kept, all = append(kept, t), append(all, words)
	}
	return kept, all, nil
}

// expire takes a fault back when its duration has passed. If that fails the
// run ends: the undo of everything tries again, and tells what is stuck.
func (r *run) expire(live *liveFault) {
	if err := r.undoSome(live, "its duration has passed"); err != nil {
		r.fail("undo", err)
	}
}

func (r *run) release(in protocol.Release) error {
	r.mu.Lock()
	live, ok := r.faults[in.ID]
	if ok && live.timer != nil {
		live.timer.Stop()
	}
	r.mu.Unlock()
	if !ok {
		return protocol.Errorf(protocol.CodeBad, "undo: there is no fault %q", in.ID)
	}
	return r.undoSome(live, "the script asked for it")
}

// observe lets time pass under the watcher.
func (r *run) observe(in protocol.Observe) (protocol.Figures, error) {
	failpoint.Hit("run-observe")
	from := r.now()
	select {
	case <-time.After(in.Duration):
	case <-r.ctx.Done():
		return protocol.Figures{}, fmt.Errorf("observe: %w", context.Cause(r.ctx))
	}
	window := sli.Window{Start: from, End: r.now()}
	ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
	defer cancel()
	out := protocol.Figures{Values: map[string]protocol.Figure{}}
	for _, s := range r.exp.SLOs {
		v := r.sources.value(ctx, s.SLI, window)
		figure := protocol.Figure{Count: v.Total}
		if v.OK {
			figure.Value = &v.V
		}
		out.Values[s.Name] = figure
	}
	r.journal.Record(journal.Observed{Pos: in.Pos, From: window.Start, To: window.End, Figures: out.Values})
	return out, nil
}

// maxNotes bounds what a script can make the journal, the log and the
// terminal swallow.
const maxNotes = 1000

func (r *run) note(in protocol.Note) error {
	if !r.live.Load() {
		return nil // said while loading: a rehearsal is silent
	}
	r.mu.Lock()
	r.notes++
	n := r.notes
	r.mu.Unlock()
	switch {
	case n == maxNotes+1:
		in = protocol.Note{Text: fmt.Sprintf("more than %d notes: the rest is left out", maxNotes)}
	case n > maxNotes:
		return nil
	}
	r.journal.Record(journal.Note{Pos: in.Pos, Text: in.Text, Print: in.Print})
	return nil
}

func union(matches []protocol.Match) []fault.Target {
	var all []fault.Target
	for _, m := range matches {
		for _, t := range m.Targets {
			if !slices.ContainsFunc(all, func(o fault.Target) bool { return o.ID == t.ID }) {
				all = append(all, t)
			}
		}
	}
	return all
}

var errAgentDied = errors.New("the agent's process has ended")

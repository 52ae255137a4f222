package builtins

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// A rehearsal is a World in which nothing happens and no time is lost. It
// records what a method would do, on a clock of its own:
//
//	kill("catalog", duration = "30s")   0s   f1 from 0s to 30s
//	observe("10s")                      0s … 10s
//	pause("redis")                     10s   f2 from 10s to …
//	end of method()                    10s   f2 to 10s: it lasts no time
type rehearsal struct {
	World // the real one, for sources; and for targets, where there is an engine

	session *Session
	engine  bool // targets can be resolved
	silent  bool // a rollback is rehearsed: it is no step of the method
	now     time.Duration
	steps   []spec.Step
	faults  []*played
	rolls   []protocol.Rollback
}

// played is a fault of the rehearsal, on its clock.
type played struct {
	fault    spec.Fault
	at       place
	from, to time.Duration // to: -1 while it has no end
}

const maxSteps = 10_000 // of a method: the plan and the journal hold them

func (r *rehearsal) record(step spec.Step) error {
	if r.silent {
		return nil
	}
	if len(r.steps) >= maxSteps {
		return fmt.Errorf("got a method of more than %d steps", maxSteps)
	}
	step.Pos = r.session.scene.here()
	step.BranchAt = r.session.library.branchAt(r.session.scene.thread.CallStack())
	step.Branches = step.BranchAt != ""
	r.steps = append(r.steps, step)
	return nil
}

// Fault implements World.
func (r *rehearsal) Fault(_ context.Context, in spec.Fault) (protocol.Handle, error) {
	p := &played{fault: in, at: placeOf(r.session.scene.thread.CallStack()), from: r.now, to: -1}
	if err := r.clash(in); err != nil {
		return protocol.Handle{}, err
	}
	if in.Duration > 0 {
		p.to = r.now + in.Duration
	}
	r.faults = append(r.faults, p)
	targets := make([]fault.Target, len(in.Targets))
	for i, t := range in.Targets {
		targets[i] = fault.Target{Name: t}
	}
	return protocol.Handle{ID: fmt.Sprintf("f%d", len(r.faults)), Targets: targets}, r.record(spec.Step{Op: "fault", Fault: &in})
}

// clash refuses a fault of the network that would meet some packets, but not
// all, that one of its target's is in for. The agent holds the addresses
// against each other; here the names do.
func (r *rehearsal) clash(in spec.Fault) error {
	if in.Kind != "netem" {
		return nil
	}
	var mine fault.Netem
	if err := json.Unmarshal(in.Params, &mine); err != nil {
		return err
	}
	for _, p := range r.faults {
		var other fault.Netem
		if p.fault.Kind != in.Kind || p.to >= 0 && p.to <= r.now || !shareOne(p.fault.Targets, in.Targets) {
			continue
		}
		if err := json.Unmarshal(p.fault.Params, &other); err != nil {
			return err
		}
		if mine.Clash(&other) {
			return hint(fmt.Errorf("its packets are in part those of the netem of %s at %s, which is in", article(p.fault.Targets), p.at.pos),
				"make their peers, ports, protocols and directions equal, or such that no packet is meant by both; or .undo() that one first")
		}
	}
	return nil
}

func shareOne(a, b []string) bool {
	return slices.ContainsFunc(a, func(t string) bool { return slices.Contains(b, t) })
}

// Change implements World.
func (r *rehearsal) Change(_ context.Context, in protocol.Change) error {
	for i, p := range r.faults {
		if in.ID == fmt.Sprintf("f%d", i+1) {
			changed := p.fault
			changed.Params, changed.Pos = in.Params, in.Pos
			p.fault.Params = in.Params
			return r.record(spec.Step{Op: "update", Detail: changed.Kind + " of " + article(changed.Targets), Update: &changed})
		}
	}
	return fmt.Errorf("there is no fault %q", in.ID)
}

// Release implements World.
func (r *rehearsal) Release(_ context.Context, in protocol.Release) error {
	for i, p := range r.faults {
		if in.ID != fmt.Sprintf("f%d", i+1) {
			continue
		}
		if p.to < 0 || p.to > r.now {
			p.to = r.now
		}
		return r.record(spec.Step{Op: "undo", Detail: p.fault.Kind + " of " + article(p.fault.Targets)})
	}
	return fmt.Errorf("there is no fault %q", in.ID)
}

// Observe implements World. The figures stand at the objectives.
func (r *rehearsal) Observe(_ context.Context, in protocol.Observe) (protocol.Figures, error) {
	r.now += in.Duration
	if r.now > 10*notation.MaxDuration {
		return protocol.Figures{}, fmt.Errorf("got a method that lasts %s", r.now)
	}
	figures := protocol.Figures{Values: map[string]protocol.Figure{}}
	for _, s := range r.session.declared.experiment.SLOs {
		v := s.Min
		if v == nil {
			v = s.Max
		}
		figures.Values[s.Name] = protocol.Figure{Value: v, Count: 1000}
	}
	return figures, r.record(spec.Step{Op: "observe", Duration: in.Duration})
}

// HTTP implements World.
func (r *rehearsal) HTTP(_ context.Context, in protocol.HTTP) (protocol.HTTPReply, error) {
	return protocol.HTTPReply{Status: 200, Seconds: 0.001}, r.record(spec.Step{Op: "http", Detail: in.Method + " " + in.URL})
}

// SQL implements World. sql() itself makes the row that a script gets.
func (r *rehearsal) SQL(_ context.Context, in protocol.SQL) (protocol.SQLReply, error) {
	return protocol.SQLReply{Seconds: 0.001}, r.record(spec.Step{Op: "sql", Detail: in.Words()})
}

// PromQL implements World.
func (r *rehearsal) PromQL(_ context.Context, in protocol.PromQL) (protocol.Figure, error) {
	zero := 0.0
	return protocol.Figure{Value: &zero}, r.record(spec.Step{Op: "promql", Detail: in.Query})
}

// Logs implements World.
func (r *rehearsal) Logs(_ context.Context, in protocol.Logs) (protocol.Logged, error) {
	return protocol.Logged{Lines: []string{""}}, r.record(spec.Step{Op: "logs", Detail: "of " + article(in.Targets)})
}

// Targets implements World.
func (r *rehearsal) Targets(ctx context.Context, in protocol.Resolve) (protocol.Resolved, error) {
	if r.engine {
		return r.World.Targets(ctx, in)
	}
	return protocol.Resolved{}, nil // pick makes stand-ins
}

// Note implements World: a rehearsal is silent.
func (r *rehearsal) Note(context.Context, protocol.Note) error { return nil }

// Register implements World.
func (r *rehearsal) Register(_ context.Context, in protocol.Rollback) error {
	r.rolls = append(r.rolls, in)
	return r.record(spec.Step{Op: "rollback", Detail: in.Func, Args: json.RawMessage(in.Args)})
}

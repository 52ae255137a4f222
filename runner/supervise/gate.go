package supervise

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

const loadLimit = 20 * time.Second // for loading and rehearsing a script

// gate loads and rehearses the script and refuses the run, in terms of the
// script, before anything is touched.
func (r *run) gate(ctx context.Context) error {
	w, err := startWorker(r.opt, server{r})
	if err != nil {
		return err
	}
	r.worker = w
	exp, err := w.load(ctx, r.load(protocol.FullRun))
	if err == nil {
		r.exp = *exp
		err = r.needSecrets()
	}
	if err == nil {
		_, err = r.survey(ctx)
	}
	if err == nil {
		r.sources, err = newSources(ctx, r)
	}
	if err != nil {
		w.end()
	}
	return err
}

func (r *run) load(mode string) protocol.Load {
	return protocol.Load{Script: r.modules.Name(), Mode: mode, Params: r.opt.Params, Seed: r.opt.Seed, Steps: stepLimit}
}

// stepLimit is the interpreter's budget for loading and rehearsing, and again
// for the method: seconds of pure computing.
const stepLimit = 200_000_000

// A Planned is one fault of the rehearsal, resolved.
type Planned struct {
	Step    spec.Step            `json:"step"`
	Targets []fault.Target       `json:"targets"`
	Words   []protocol.Described `json:"words"`
}

// survey resolves the blast radius and every fault of the rehearsal, and has
// the agent look at each.
func (r *run) survey(ctx context.Context) ([]Planned, error) {
	radius := r.exp.BlastRadius
	resolved, err := r.resolve(ctx, radius.Targets)
	if err != nil {
		return nil, at(radius.Pos, "blast_radius", err)
	}
	r.radius = map[string]bool{}
	for _, t := range union(resolved.Matches) {
		r.radius[t.ID] = true
	}
	var plan []Planned
	var refused Refusal
	for _, step := range r.exp.Steps {
		if step.Update != nil {
			if err := refused.add(r.surveyUpdate(ctx, *step.Update)); err != nil {
				return nil, err
			}
		}
		if step.Fault == nil {
			continue
		}
		planned, err := r.surveyFault(ctx, step)
		if err := refused.add(err); err != nil {
			return nil, err
		}
		plan = append(plan, planned)
	}
	if len(refused.Errors) > 0 {
		return nil, &refused
	}
	return plan, nil
}

func (r *run) surveyFault(ctx context.Context, step spec.Step) (Planned, error) {
	f := *step.Fault
	planned := Planned{Step: step}
	resolved, err := r.resolve(ctx, f.Targets)
	if err != nil {
		return planned, at(f.Pos, f.Kind, err)
	}
	planned.Targets = union(resolved.Matches)
	if err := r.inRadius(f, planned.Targets); err != nil {
		return planned, at(f.Pos, f.Kind, err)
	}
	if most := r.exp.BlastRadius.AtMost; most > 0 && len(planned.Targets) > most {
		return planned, refuse(f.Pos, "%s: got %d targets (%s), want at most %d (blast_radius at_most)", f.Kind, len(planned.Targets), targetNames(planned.Targets), most)
	}
	if f.Duration > r.exp.BlastRadius.Duration {
		return planned, refuse(f.Pos, "%s: got a duration of %s, want at most the blast radius' %s", f.Kind, f.Duration, r.exp.BlastRadius.Duration)
	}
	if err := r.opt.Rules.AtMost(len(planned.Targets)); err != nil {
		return planned, refuse(f.Pos, "%s: %v", f.Kind, err)
	}
	ttl := cmp.Or(f.Duration, r.exp.BlastRadius.Duration) + protocol.Grace
	planned.Targets, planned.Words, err = r.apart(ctx, protocol.Apply{ID: "plan", Kind: f.Kind, Params: f.Params, TTL: ttl}, planned.Targets)
	return planned, at(f.Pos, f.Kind, err)
}

// surveyUpdate has the agent look at what a fault is changed to.
func (r *run) surveyUpdate(ctx context.Context, f spec.Fault) error {
	resolved, err := r.resolve(ctx, f.Targets)
	if err != nil {
		return at(f.Pos, "update", err)
	}
	for _, t := range union(resolved.Matches) {
		if _, err := r.describe(ctx, protocol.Apply{ID: "plan", Kind: f.Kind, Params: f.Params, Target: t, TTL: time.Minute, Radius: r.inReach()}); err != nil {
			return at(f.Pos, "update", err)
		}
	}
	return nil
}

// inRadius refuses a fault on anything that the blast radius does not name.
func (r *run) inRadius(f spec.Fault, targets []fault.Target) error {
	for _, t := range targets {
		if !r.radius[t.ID] {
			return protocol.Errorf(protocol.CodeRefused, "%s: %s is outside the blast radius (%s)", f.Kind, t.Name, strings.Join(r.exp.BlastRadius.Targets, ", "))
		}
	}
	return nil
}

// inReach has the ids of the containers in the blast radius.
func (r *run) inReach() []string { return slices.Sorted(maps.Keys(r.radius)) }

// at makes the agent's no a refusal at the script's line; any other error (the
// engine is away, the link broke) stays what it is.
func at(pos spec.Pos, builtin string, err error) error {
	if err == nil {
		return nil
	}
	switch protocol.CodeOf(err) {
	case protocol.CodeRefused, protocol.CodeNoTarget, protocol.CodeBad:
		message := err.Error()
		if !strings.HasPrefix(message, builtin+":") {
			message = builtin + ": " + message
		}
		return &Refusal{Errors: []protocol.ScriptError{{Pos: pos, Message: message}}}
	}
	return fmt.Errorf("%s: %w", builtin, err)
}

// Check loads and rehearses a script without an engine.
func Check(ctx context.Context, opt Options) (spec.Experiment, error) {
	r, err := newRun(opt)
	if err != nil {
		return spec.Experiment{}, err
	}
	w, err := startWorker(opt, server{r})
	if err != nil {
		return spec.Experiment{}, err
	}
	defer w.end()
	exp, err := w.load(ctx, r.load(protocol.CheckOnly))
	if err != nil {
		return spec.Experiment{}, err
	}
	return *exp, opt.knownSecrets(*exp)
}

// A Plan is what a run would do.
type Plan struct {
	Experiment spec.Experiment  `json:"experiment"`
	Radius     []fault.Target   `json:"radius"`
	Faults     []Planned        `json:"faults"`
	Proof      []Proof          `json:"proof"`
	Policy     []policy.Line    `json:"policy"` // what binds it
	Welcome    protocol.Welcome `json:"engine"`
}

// Proof is what the traffic can prove of one objective at most.
type Proof struct {
	SLO       string  `json:"slo"`
	Objective string  `json:"objective"`
	Requests  int64   `json:"requests"` // that fit into the faults' time
	Most      float64 `json:"most"`     // the share that so many requests without an error prove
	Need      int64   `json:"need"`     // requests without an error that prove the objective
}

// MakePlan resolves a script against the engine and looks at every fault;
// nothing is injected and nothing is cleaned up.
func MakePlan(ctx context.Context, opt Options) (Plan, error) {
	r, err := newRun(opt)
	if err != nil {
		return Plan{}, err
	}
	hello := r.hello()
	hello.Mode = protocol.ModeLook
	if r.agent, err = startAgent(ctx, opt.Agent, hello, nil); err != nil {
		return Plan{}, err
	}
	defer r.agent.end(time.Second)
	go r.watch.loop()
	defer r.watch.stop()
	w, err := startWorker(opt, server{r})
	if err != nil {
		return Plan{}, err
	}
	defer w.end()
	exp, err := w.load(ctx, r.load(protocol.PlanOnly))
	if err != nil {
		return Plan{}, err
	}
	if err := opt.knownSecrets(*exp); err != nil {
		return Plan{}, err
	}
	r.exp = *exp
	p := Plan{Experiment: r.exp, Welcome: r.agent.welcome, Policy: opt.Rules.Lines()}
	if p.Faults, err = r.survey(ctx); err != nil {
		return Plan{}, err
	}
	resolved, err := r.resolve(ctx, r.exp.BlastRadius.Targets)
	if err != nil {
		return Plan{}, err
	}
	p.Radius = union(resolved.Matches)
	p.Proof = proofs(r.exp)
	return p, nil
}

// proofs says what the declared traffic can prove during the faults' time, as
// far as the rehearsal knows it.
func proofs(exp spec.Experiment) []Proof {
	length := faultTime(exp)
	var all []Proof
	for _, s := range exp.SLOs {
		var arrivals float64
		for _, t := range exp.Traffic {
			if s.SLI.Of == "" || s.SLI.Of == t.Name {
				arrivals += t.Arrivals
			}
		}
		for _, p := range exp.Probes {
			if s.SLI.Of == p.Name {
				arrivals = 1 / p.Every.Seconds()
			}
		}
		if s.SLI.Kind == spec.KindPromQL || arrivals == 0 {
			continue
		}
		n := int64(arrivals * length.Seconds())
		p := Proof{SLO: s.Name, Objective: report.Objective(s.Min, s.Max), Requests: n, Most: sli.MaxProof(n)}
		switch {
		case s.SLI.Q > 0:
			p.Need = sli.NeedFor(s.SLI.Q)
		case s.Min != nil:
			p.Need = sli.NeedFor(*s.Min)
		default:
			p.Need = sli.NeedFor(1 - *s.Max)
		}
		all = append(all, p)
	}
	return all
}

// faultTime is how long at least one fault is in place in the rehearsal.
func faultTime(exp spec.Experiment) time.Duration {
	var now, end, open, total time.Duration // end: of faults with a duration; open: of one without
	start := time.Duration(-1)
	for _, step := range exp.Steps {
		switch {
		case step.Fault != nil:
			if start < 0 {
				start = now
			}
			if step.Fault.Duration > 0 {
				end = max(end, now+step.Fault.Duration)
			} else {
				open = 1
			}
		case step.Op == "observe":
			now += step.Duration
		}
	}
	if start < 0 {
		return 0
	}
	total = end - start
	if open > 0 {
		total = max(total, now-start)
	}
	return min(max(total, 0), exp.BlastRadius.Duration)
}

package report

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
)

// Fold turns the events of a run into its result. A journal that has no end is
// that of a run whose supervisor died: it failed.
func Fold(events []journal.Event) Result {
	f := folder{slos: map[string]*SLO{}, faults: map[string]*Fault{}}
	f.r.Stuck, f.r.Faults, f.r.SLOs = []string{}, []Fault{}, []SLO{}
	for _, e := range events {
		f.take(e)
	}
	return f.finish()
}

type folder struct {
	r          Result
	slos       map[string]*SLO
	sloOrder   []string
	faults     map[string]*Fault
	faultOrder []string
	verdicts   []string // of the windows that count
	expect     bool     // a false expect
	stopping   *journal.Stopping
	abort      *journal.Abort
	ordered    time.Time // the undo after the abort
	undone     time.Time // the last undo
	done       bool      // the run reached its last phase
}

func (f *folder) take(e journal.Event) {
	if f.r.Started.IsZero() {
		f.r.Started = e.T
	}
	f.r.Ended = e.T
	switch d := e.Data.(type) {
	case journal.Begun:
		f.r.Run, f.r.Name, f.r.Script = d.Run, d.Name, d.Script
		f.r.Seed, f.r.Set, f.r.Engine, f.r.Rings = d.Seed, d.Set, d.Engine, d.Rings
	case spec.Experiment:
		f.declared(d)
	case journal.Phase:
		f.done = f.done || d.Name == journal.PhaseDone
	case journal.Inject:
		f.inject(d)
	case journal.Applied:
		f.fault(d.ID).applied(d)
	case journal.Changed:
		p := f.fault(d.ID)
		p.Findings = append(p.Findings, d.Findings...)
	case journal.Undo:
		if f.abort != nil && f.ordered.IsZero() {
			f.ordered = e.T
		}
	case protocol.UndoResult:
		f.undo(d)
	case journal.Judged:
		f.judged(d)
	case journal.Recovery:
		f.recovery(d)
	case journal.Abort:
		f.abort = &d
	case journal.Stopping:
		if f.stopping == nil {
			f.stopping = &d
		}
	case journal.Failure:
		if e.Kind == "expect" {
			f.expect = true
		}
		f.r.Failures = append(f.r.Failures, Describe(d))
	}
	if text := Line(e); text != "" {
		f.r.Timeline = append(f.r.Timeline, Moment{At: e.At, Text: text})
	}
}

func (f *folder) declared(d spec.Experiment) {
	f.r.Hypothesis, f.r.BlastRadius, f.r.Params = d.Hypothesis, d.BlastRadius, d.Params
	for _, s := range d.SLOs {
		f.sloOrder = append(f.sloOrder, s.Name)
		f.slos[s.Name] = &SLO{Name: s.Name, Objective: Objective(s.Min, s.Max), Limit: s.RecoversWithin.Seconds()}
	}
	for _, inv := range d.Invariants {
		f.sloOrder = append(f.sloOrder, inv.Name)
		f.slos[inv.Name] = &SLO{Name: inv.Name, Objective: Objective(inv.Min, inv.Max), Limit: inv.Within.Seconds()}
	}
}

func (f *folder) fault(id string) *Fault {
	got, ok := f.faults[id]
	if !ok {
		got = &Fault{ID: id}
		f.faults[id] = got
		f.faultOrder = append(f.faultOrder, id)
	}
	return got
}

func (f *folder) inject(d journal.Inject) {
	for i, target := range d.Targets {
		part := f.fault(PartID(d.ID, i, len(d.Targets)))
		part.Kind, part.Pos = d.Fault.Kind, d.Fault.Pos
		part.Target, part.Service = target.Name, target.Service
		if i < len(d.Harm) {
			part.Harm = d.Harm[i]
		}
	}
}

// PartID names the i-th of n parts of a fault: one for each container.
func PartID(id string, i, n int) string {
	if n == 1 {
		return id
	}
	return fmt.Sprintf("%s.%d", id, i+1)
}

func (p *Fault) applied(d journal.Applied) {
	p.Kind, p.Target, p.Service = d.Kind, d.Target.Name, d.Target.Service
	p.Intent, p.Applied = d.Intent, d.Applied
	p.Findings = append(p.Findings, d.Findings...)
}

func (f *folder) undo(d protocol.UndoResult) {
	p := f.fault(d.ID)
	p.Kind, p.Target, p.Service = d.Kind, d.Target.Name, d.Target.Service
	p.Reason, p.Error, p.Mend = d.Reason, d.Error, d.Mend
	p.Findings = append(p.Findings, d.Findings...)
	if d.Error != "" {
		return
	}
	p.Undone, p.Undo = d.Ended, d.Ended.Sub(d.Began).Seconds()
	if !p.Applied.IsZero() {
		p.Held = d.Ended.Sub(p.Applied).Seconds()
	}
	if d.Ended.After(f.undone) {
		f.undone = d.Ended
	}
}

func (f *folder) judged(d journal.Judged) {
	s, ok := f.slos[d.SLO]
	if !ok {
		return
	}
	figure := &Figure{
		Value: d.Value, Count: d.Count, Bad: d.Bad, Low: d.Low, High: d.High,
		Verdict: d.Verdict, Note: d.Note, From: d.From, To: d.To,
	}
	switch d.Window {
	case journal.PhaseBaseline:
		s.Before = figure
		return // the gate judged it; the verdict is about what came after
	case "fault":
		s.During = figure
	case journal.PhaseRecovery:
		s.After = figure
	}
	if d.Verdict != "" {
		f.verdicts = append(f.verdicts, d.Verdict)
	}
}

func (f *folder) recovery(d journal.Recovery) {
	if s, ok := f.slos[d.SLO]; ok {
		s.Recovered, s.Limit, s.Late = d.Seconds, d.Limit, d.Seconds == nil
	}
	if d.Seconds == nil {
		f.verdicts = append(f.verdicts, Broke)
	}
}

func (f *folder) finish() Result {
	r := &f.r
	r.Seconds = r.Ended.Sub(r.Started).Seconds()
	for _, id := range f.faultOrder {
		p := f.faults[id]
		if stuck := p.stuck(); stuck != "" {
			r.Stuck = append(r.Stuck, stuck)
		}
		if !p.Applied.IsZero() || p.Reason != "" { // else it was refused before its intent
			r.Faults = append(r.Faults, *p)
		}
	}
	for _, name := range f.sloOrder {
		r.SLOs = append(r.SLOs, *f.slos[name])
	}
	f.ending()
	f.verdict()
	if f.abort != nil {
		r.Abort = f.aborted()
	}
	sort.SliceStable(r.Timeline, func(i, j int) bool { return r.Timeline[i].At < r.Timeline[j].At })
	r.Exit = r.Code()
	return *r
}

func (p *Fault) stuck() string {
	switch {
	case p.Error != "":
		return fmt.Sprintf("%s %s: %s", p.Kind, p.Target, p.Error)
	case !p.Applied.IsZero() && p.Undone.IsZero():
		return fmt.Sprintf("%s %s: nothing is known of its undo", p.Kind, p.Target)
	}
	return ""
}

func (f *folder) ending() {
	switch {
	case f.stopping != nil:
		f.r.Ending, f.r.Reason, f.r.signal = f.stopping.Ending, f.stopping.Reason, f.stopping.Signal
	case !f.done:
		f.r.Ending, f.r.Reason = Failed, "the supervisor died"
	default:
		f.r.Ending = Completed
	}
}

func (f *folder) verdict() {
	r := &f.r
	switch {
	case r.Ending == Aborted && f.abort != nil && !f.abort.Blind:
		r.Verdict = Broke
	case r.Ending != Completed:
		r.Verdict = Inconclusive
	case f.expect || has(f.verdicts, Broke):
		r.Verdict = Broke
	case len(r.Faults) == 0:
		r.Verdict, r.Reason = Inconclusive, "no fault was injected"
	case len(f.verdicts) > 0 && !has(f.verdicts, Inconclusive):
		r.Verdict = Held
	default:
		r.Verdict = Inconclusive
	}
	if r.Reason == "" {
		r.Reason = f.because()
	}
}

// because says which objectives a verdict rests on.
func (f *folder) because() string {
	if f.expect && len(f.r.Failures) > 0 {
		return f.r.Failures[len(f.r.Failures)-1]
	}
	var parts []string
	for _, s := range f.r.SLOs {
		if s.Late {
			parts = append(parts, fmt.Sprintf("%s did not hold again within %gs", s.Name, s.Limit))
		}
		for _, w := range []struct {
			when   string
			figure *Figure
		}{{"during", s.During}, {"after", s.After}} {
			if w.figure != nil && w.figure.Verdict == f.r.Verdict && (f.r.Verdict != Held || w.when == "during") {
				parts = append(parts, fmt.Sprintf("%s %s %s, want %s", s.Name, Number(w.figure.Value), w.when, s.Objective))
			}
		}
	}
	return strings.Join(parts, "; ")
}

func (f *folder) aborted() *Abort {
	a := &Abort{
		Name: f.abort.Name, Blind: f.abort.Blind, Value: f.abort.Value, Want: f.abort.Want,
		After: f.abort.Elapsed, Seen: f.abort.Seen.Sub(f.abort.Since).Seconds(), Why: f.abort.Why,
	}
	if !f.ordered.IsZero() {
		a.Ordered = f.ordered.Sub(f.abort.Seen).Seconds()
		if f.undone.After(f.ordered) {
			a.Undone = f.undone.Sub(f.ordered).Seconds()
		}
	}
	return a
}

func has(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

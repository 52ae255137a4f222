package builtins

import (
	"fmt"
	"slices"
	"strings"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// declared is what the script has said about its experiment so far, and where.
type declared struct {
	experiment spec.Experiment
	params     map[string]string // --set, by name
	once       map[string]place  // of the declarations that stand once
	named      map[string]place  // "slo availability", "probe home", …
	places     map[spec.Pos]place
	checks     []check // the functions of invariants
}

const maxDeclared = 100 // of one kind: the watcher asks for each five times a second

func newDeclared(cfg Config) *declared {
	name := strings.TrimSuffix(cfg.Script[strings.LastIndexAny(cfg.Script, "/:")+1:], ".star")
	d := &declared{params: cfg.Params, once: map[string]place{}, named: map[string]place{}, places: map[spec.Pos]place{}}
	d.experiment = spec.Experiment{
		Name: notation.Clean(name, 100), SteadyState: defaultSteadyState, SLOs: []spec.SLO{}, Aborts: []spec.Abort{}, Steps: []spec.Step{},
	}
	return d
}

// only refuses a second declaration of a kind.
func (d *declared) only(c *call) error {
	if first, twice := d.once[c.row.Name]; twice {
		return fmt.Errorf("there is one already, at %s", first.pos)
	}
	d.once[c.row.Name] = c.at()
	return d.note(c)
}

// name refuses a second thing of one name, and too many of a kind.
func (d *declared) name(c *call, name string) error {
	key := c.row.Name + " " + name
	if first, twice := d.named[key]; twice {
		return fmt.Errorf("name: got %s, which there is already, at %s", notation.Quote(name), first.pos)
	}
	d.named[key] = c.at()
	n := 0
	for k := range d.named {
		if strings.HasPrefix(k, c.row.Name+" ") {
			n++
		}
	}
	if n > maxDeclared {
		return fmt.Errorf("got more than %d of them", maxDeclared)
	}
	return d.note(c)
}

// note keeps who called, for errors that come to light later.
func (d *declared) note(c *call) error {
	d.places[c.at().pos] = c.at()
	return nil
}

// at is the place that a declaration's position stands for.
func (d *declared) at(pos spec.Pos) place {
	if at, ok := d.places[pos]; ok {
		return at
	}
	return place{pos: pos}
}

// check tells what the declarations lack, once the script is loaded.
func (d *declared) check(main *module) (found []protocol.ScriptError) {
	if e := d.missing(main); e != nil {
		found = append(found, *e)
	}
	found = append(found, d.unknownParams(main)...)
	for _, inv := range d.experiment.Invariants {
		if slo, twice := d.named["slo "+inv.Name]; twice { // the report has one row for each name
			found = append(found, d.at(inv.Pos).errorf("invariant: name: got %s, which is an objective's, at %s", notation.Quote(inv.Name), slo.pos))
		}
	}
	x := d.experiment
	if x.Metrics == nil && x.Prometheus == nil {
		for _, s := range x.SLOs {
			if needsSource(s.SLI) {
				found = append(found, d.at(s.Pos).errorf("slo: %s: got %s, want metrics() or prometheus() beside it: nothing is scraped", s.Name, describe(s.SLI)))
			}
		}
		for _, a := range x.Aborts {
			if a.SLO == "" && needsSource(a.SLI) {
				found = append(found, d.at(a.Pos).errorf("abort_if: got %s, want metrics() or prometheus() beside it: nothing is scraped", describe(a.SLI)))
			}
		}
	}
	return found
}

// missing is one error that lists all that every experiment needs.
func (d *declared) missing(main *module) *protocol.ScriptError {
	x := d.experiment
	var lacking, advice []string
	need := func(have bool, what, how string) {
		if !have {
			lacking = append(lacking, what)
			advice = append(advice, how)
		}
	}
	need(x.Hypothesis != "", "a hypothesis", `hypothesis("…")`)
	need(len(x.BlastRadius.Targets) > 0, "a blast radius", `blast_radius(targets = […], duration = "60s")`)
	need(len(x.Traffic) > 0 || x.Metrics != nil || x.Prometheus != nil || len(x.Probes) > 0,
		"traffic or metrics", `traffic(url = "…", arrivals = "40/s")`)
	need(len(x.SLOs) > 0, "an objective", `slo("availability", t.success, min = 0.99)`)
	need(len(x.Aborts) > 0, "an abort condition", "abort_if(availability, below = 0.9)")
	_, method := main.globals["method"]
	need(method, "a method", "def method(): …, in the script itself")
	if len(lacking) == 0 {
		return nil
	}
	e := place{pos: spec.Pos(main.name)}.errorf("the experiment lacks %s", article(lacking))
	e.Hint = strings.Join(advice, "; ")
	return &e
}

// unknownParams refuses each --set that the script does not know.
func (d *declared) unknownParams(main *module) (found []protocol.ScriptError) {
	var known, unknown []string
	for _, p := range d.experiment.Params {
		known = append(known, p.Name)
	}
	for name := range d.params {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		tail := suggest(name, known)
		if len(known) == 0 {
			tail = ": the script has no param()"
		}
		found = append(found, place{pos: spec.Pos(main.name)}.errorf("--set: got %s, which is no param of the script%s", notation.Quote(name), tail))
	}
	return found
}

// cleanDoc makes a docstring harmless, and keeps its lines.
func cleanDoc(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, line := range lines {
		lines[i] = notation.Clean(strings.TrimRight(line, " \t\r"), 300)
	}
	return strings.Join(lines[:min(len(lines), 50)], "\n")
}

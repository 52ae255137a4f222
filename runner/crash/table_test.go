package crash

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// An outcome is what became of a trial.
type outcome struct {
	plan
	harmed bool          // something was harmed when the blow fell, or later
	healed string        // by itself, or by the remedy
	took   time.Duration // from the blow, or the remedy's start, to clean; where that says something
	timed  bool
	err    error
}

func isLeak(err error) bool {
	_, ok := errors.AsType[leak](err)
	return ok
}

// A line sums up outcomes that have something in common.
type line struct {
	name                          string
	trials, harmed, leaks, failed int
	itself, remedied              []time.Duration
}

func (r *line) add(o outcome) {
	r.trials++
	if o.harmed {
		r.harmed++
	}
	switch {
	case isLeak(o.err):
		r.leaks++
	case o.err != nil:
		r.failed++
	case o.timed && o.healed == "itself":
		r.itself = append(r.itself, o.took)
	case o.timed:
		r.remedied = append(r.remedied, o.took)
	}
}

// table prints the outcomes, each in the lines that by names.
func table(w io.Writer, title string, outcomes []outcome, by func(outcome) []string) {
	lines := map[string]*line{}
	all := &line{name: "all"}
	for _, o := range outcomes {
		for _, name := range by(o) {
			if lines[name] == nil {
				lines[name] = &line{name: name}
			}
			lines[name].add(o)
		}
		all.add(o)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s\ttrials\tharmed\tleaks\tother\tclean by itself: median\tp99\tby recover, run, stop or CONT: median\tp99\n", title)
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		lines[name].print(t)
	}
	all.print(t)
	_ = t.Flush() // a terminal that is gone changes no result
}

func (r *line) print(w io.Writer) {
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", r.name, r.trials, r.harmed, r.leaks, r.failed,
		quantile(r.itself, 0.5), quantile(r.itself, 0.99), quantile(r.remedied, 0.5), quantile(r.remedied, 0.99))
}

// quantile is the smallest value that at least a share q of all does not pass.
func quantile(all []time.Duration, q float64) string {
	if len(all) == 0 {
		return "-"
	}
	all = slices.Clone(all)
	slices.Sort(all)
	i := min(int(float64(len(all))*q), len(all)-1)
	return all[i].Round(10 * time.Millisecond).String()
}

// printAll prints what was found: by fault and agent, by victims, by step.
func printAll(w io.Writer, outcomes []outcome) {
	table(w, "fault × agent", outcomes, func(o outcome) []string {
		names := []string{o.first.kind + ", agent " + o.agents()}
		if o.second.kind != o.first.kind {
			names = append(names, o.second.kind+", agent "+o.agents())
		}
		return names
	})
	one := func(name func(outcome) string) func(outcome) []string {
		return func(o outcome) []string { return []string{name(o)} }
	}
	table(w, "signal × victim", outcomes, one(func(o outcome) string { return o.struck() }))
	table(w, "step", outcomes, one(func(o outcome) string { return o.where() }))
	table(w, "healed by", outcomes, one(func(o outcome) string { return o.healed }))
}

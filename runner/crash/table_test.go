//go:build crash

package crash

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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

func (o outcome) leaked() bool {
	var l leak
	return errors.As(o.err, &l)
}

// row sums up outcomes that have something in common.
type row struct {
	name                          string
	trials, harmed, leaks, failed int
	itself, remedied              []time.Duration
}

func (r *row) add(o outcome) {
	r.trials++
	if o.harmed {
		r.harmed++
	}
	switch {
	case o.leaked():
		r.leaks++
	case o.err != nil:
		r.failed++
	case o.timed && o.healed == "itself":
		r.itself = append(r.itself, o.took)
	case o.timed:
		r.remedied = append(r.remedied, o.took)
	}
}

// table prints the outcomes, grouped by what by says, in the order of their
// first occurrence or of their names.
func table(w io.Writer, title string, outcomes []outcome, by func(outcome) string) {
	rows := map[string]*row{}
	var names []string
	all := &row{name: "all"}
	for _, o := range outcomes {
		name := by(o)
		if rows[name] == nil {
			rows[name] = &row{name: name}
			names = append(names, name)
		}
		rows[name].add(o)
		all.add(o)
	}
	slices.Sort(names)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s\ttrials\tharmed\tleaks\tother\tclean by itself: median\tp99\tby recover, run, stop or CONT: median\tp99\n", title)
	for _, name := range names {
		rows[name].print(t)
	}
	all.print(t)
	_ = t.Flush() // a terminal that is gone changes no result
}

func (r *row) print(w io.Writer) {
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

// printAll prints what was found: by step and victims, by each, and by kinds.
func printAll(w io.Writer, outcomes []outcome) {
	pad := func(s string) string { return s + strings.Repeat(" ", max(0, 26-len(s))) }
	table(w, "step × signal × victim", outcomes, func(o outcome) string { return pad(o.where()) + " " + o.struck() })
	table(w, "signal × victim", outcomes, func(o outcome) string { return o.struck() })
	table(w, "step", outcomes, func(o outcome) string { return o.where() })
	table(w, "faults", outcomes, func(o outcome) string { return o.first + " + " + o.second })
	table(w, "healed by", outcomes, func(o outcome) string { return o.healed })
}

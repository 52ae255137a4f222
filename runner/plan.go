package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
	"chaosrunner/runner/supervise"
)

func (f *flags) planCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plan FILE.star",
		Short: "Show what a run would inject, how it is undone and what the traffic can prove",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return f.plan(args[0]) },
	}
}

func (f *flags) plan(script string) error {
	ctx, stop := interruptible()
	defer stop()
	opt, err := f.options(script)
	if err == nil {
		err = f.agents(ctx, &opt)
	}
	if err != nil {
		return err
	}
	p, err := supervise.MakePlan(ctx, opt)
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(p)
	}
	printPlan(p)
	return nil
}

func printPlan(p supervise.Plan) {
	exp := p.Experiment
	fmt.Printf("%s: %s\n\n", exp.Name, exp.Hypothesis)
	fmt.Printf("blast radius  %s, at most %s from first apply to last undo\n", names(p.Radius), report.Duration(exp.BlastRadius.Duration))
	fmt.Printf("steady state  every objective must hold for %s, within %s\n", report.Duration(exp.SteadyState.Baseline), report.Duration(exp.SteadyState.Within))
	for _, t := range exp.Traffic {
		fmt.Printf("traffic       %s %s at %g/s, timeout %s\n", t.Method, t.URL, t.Arrivals, t.Timeout)
	}
	for _, l := range p.Policy {
		if l.Where != "" {
			fmt.Printf("policy        %s (%s)\n", l.Says, l.Where)
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "\nobjective\twant\tthis traffic proves at most\t")
	proofs := map[string]supervise.Proof{}
	for _, proof := range p.Proof {
		proofs[proof.SLO] = proof
	}
	for _, s := range exp.SLOs {
		fmt.Fprintf(w, "%s\t%s\t%s\t\n", s.Name, report.Objective(s.Min, s.Max), proofText(proofs, s.Name))
	}
	for _, inv := range exp.Invariants {
		fmt.Fprintf(w, "%s\t%s\tinvariant: asked for before, during and until %s after; %s\t\n", inv.Name, report.Objective(inv.Min, inv.Max), report.Duration(inv.Within), inv.Pos)
	}
	fmt.Fprintln(w, "\nabort when\tlasting\t\t")
	for _, a := range exp.Aborts {
		fmt.Fprintf(w, "%s not %s\t%s\t%s\t\n", a.Name, report.Objective(a.Below, a.Above), a.Lasting, a.Pos)
	}
	fmt.Fprintln(w, "\nwhat is done\tand undone\tlife\tline\t")
	faults := p.Faults
	for _, step := range exp.Steps {
		if step.Fault == nil {
			fmt.Fprintf(w, "%s\t\t\t%s%s\t\n", stepText(step), step.Pos, branch(step))
			continue
		}
		planned := faults[0]
		faults = faults[1:]
		for i := range planned.Targets {
			words := planned.Words[i]
			fmt.Fprintf(w, "%s\t%s\t%s\t%s%s\t\n", words.Harm, words.Remedy, life(step.Fault, words), step.Pos, branch(step))
			if words.Warning != "" {
				fmt.Fprintf(w, "  warning: %s\t\t\t\t\n", words.Warning)
			}
		}
	}
}

func proofText(proofs map[string]supervise.Proof, name string) string {
	p, ok := proofs[name]
	if !ok {
		return "no interval: judged by its samples"
	}
	most := p.Most
	s := fmt.Sprintf("%s with %d requests without an error", report.Number(&most), p.Requests)
	if p.Requests < p.Need {
		s += fmt.Sprintf("; %d are needed, so this can only end inconclusive or broke", p.Need)
	}
	return s
}

func life(f *spec.Fault, words protocol.Described) string {
	until := "until method() ends"
	if f.Duration > 0 {
		until = "for " + report.Duration(f.Duration)
	}
	return until + ", held by the " + words.Held
}

func branch(s spec.Step) string {
	if s.Branches {
		return fmt.Sprintf(" (whether it is done depends on a probe, at %s)", s.BranchAt)
	}
	return ""
}

func stepText(s spec.Step) string {
	if s.Op == "observe" {
		return "observe " + s.Duration.String()
	}
	return strings.TrimSpace(s.Op + " " + s.Detail)
}

func names(targets []fault.Target) string {
	all := make([]string, len(targets))
	for i, t := range targets {
		all[i] = t.Name
		if t.Place == "" { // what is of the host has its name alone
			all[i] += fmt.Sprintf(" (%.12s)", t.ID)
		}
	}
	return strings.Join(all, ", ")
}

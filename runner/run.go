package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chaosrunner/runner/report"
	"chaosrunner/runner/supervise"
)

func (f *flags) runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run FILE.star …",
		Short: "Run experiments, one after another (also: runner FILE.star …)",
		Args:  cobra.MinimumNArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return f.run(args) },
	}
	f.runFlags(c)
	return c
}

func (f *flags) run(scripts []string) error {
	if f.expect != "" && !slices.Contains([]string{report.Held, report.Broke, report.Inconclusive}, f.expect) {
		return fmt.Errorf("--expect: got %q, want held, broke or inconclusive", f.expect)
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that goes away (| head) does not end the run
	ctx, stop := interruptible()
	defer stop()
	var codes []int
	var results []report.Result
	for _, script := range scripts {
		opt, err := f.options(script)
		if err == nil {
			err = f.agents(ctx, &opt)
		}
		if err != nil {
			codes = append(codes, complain(err))
			continue
		}
		screen := f.screen(opt)
		opt.Each = screen.event
		result, err := supervise.Run(ctx, opt)
		shown := screen.end()
		if err != nil && result.Run == "" {
			codes = append(codes, complain(err))
			continue
		}
		code := result.Expect(f.expect)
		if err != nil { // the verdict stands; its evidence is not complete
			logger().Error("evidence could not be written", "err", err)
			if code == 0 {
				code = exitFailed
			}
		}
		if shown {
			screen.verdict(result, f.expect)
		}
		codes, results = append(codes, code), append(results, result)
		if ctx.Err() != nil {
			break
		}
	}
	if f.json {
		if err := printJSON(results); err != nil {
			return err
		}
	} else if len(results) > 1 {
		table(results)
	}
	if worst := report.Worst(codes); worst != 0 {
		return exit(worst)
	}
	return nil
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func table(results []report.Result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\nexperiment\tending\tverdict\trun")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name, r.Ending, r.Verdict, r.Run)
	}
	_ = w.Flush() // a terminal that is gone changes no verdict
}

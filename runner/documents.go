package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"chaosrunner/builtins"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
	"chaosrunner/runner/supervise"
)

func (f *flags) reportCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "report RUN",
		Short: "Print a run's report again, from its own files",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := args[0]
			if _, err := os.Stat(dir); err != nil {
				dir = filepath.Join(out, dir)
			}
			result, err := supervise.ReadRun(dir)
			if err != nil && result.Run == "" {
				return err
			}
			if err != nil {
				logger().Warn("the journal is damaged; this is what it tells up to there", "err", err)
			}
			if f.json {
				return printJSON(result)
			}
			fmt.Print(result.Entry(dir))
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "runs", "folder of the runs' evidence")
	return c
}

// docsCommand prints the reference of the language from its table, so that it
// cannot differ from what the runner does.
func docsCommand() *cobra.Command {
	var stub bool
	c := &cobra.Command{
		Use:   "docs",
		Short: "Print the reference of the language",
		Args:  cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			if stub {
				fmt.Print(builtins.Stub())
				return
			}
			fmt.Print(builtins.Reference())
		},
	}
	c.Flags().BoolVar(&stub, "stub", false, "as a stub for editors")
	return c
}

// tellRecovered prints what became of dead runs.
func (f *flags) tellRecovered(dead []protocol.Abandoned) error {
	if f.json {
		if err := printJSON(dead); err != nil {
			return err
		}
	} else if len(dead) == 0 {
		fmt.Println("nothing to undo: no dead run left anything")
	}
	stuck := false
	for _, d := range dead {
		if !f.json {
			fmt.Println(report.Abandoned(d))
		}
		for _, u := range d.Results {
			stuck = stuck || u.Error != ""
		}
	}
	if stuck {
		return exit(exitStuck)
	}
	return nil
}

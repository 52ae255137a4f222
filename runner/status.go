package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chaosrunner/runner/agent"
	"chaosrunner/runner/report"
)

func (f *flags) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "What runs, and what is injected now",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			runs, err := f.status(ctx)
			if f.json {
				if err := printJSON(runs); err != nil {
					return err
				}
				return err
			}
			if len(runs) == 0 && err == nil {
				fmt.Println("nothing runs, nothing is injected")
			}
			for _, r := range runs {
				fmt.Println(statusText(r))
			}
			return err // what could not be read
		},
	}
}

func statusText(r agent.RunStatus) string {
	if r.Unreadable != "" {
		return fmt.Sprintf("%s: cannot be read: %s", r.Run, r.Unreadable)
	}
	state := "dead: `runner recover` undoes what it left"
	switch {
	case r.Alive && r.Closed == "":
		state = fmt.Sprintf("runs since %s (agent %d)", ago(r.Began), r.PID)
		if r.Shared {
			state += ", shared"
		}
	case r.Alive:
		state = "has undone everything (" + r.Closed + ")"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", r.Run, state)
	for _, in := range r.In {
		fmt.Fprintf(&b, "\n  injected %s ago: %s", ago(in.Since), in.Harm)
		if in.Stuck != "" {
			fmt.Fprintf(&b, "\n    STUCK: %s; mend it with: %s", in.Stuck, in.Mend)
		}
	}
	if len(r.In) == 0 {
		b.WriteString("\n  nothing is injected")
	}
	if r.Damage != "" {
		fmt.Fprintf(&b, "\n  its ledger is damaged: %s", r.Damage)
	}
	return b.String()
}

func ago(t time.Time) string { return time.Since(t).Round(100 * time.Millisecond).String() }

func (f *flags) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop [RUN]",
		Short: "The red button: every run on this engine (or one) undoes everything, now",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			run := ""
			if len(args) == 1 {
				run = args[0]
			}
			ctx, stop := interruptible()
			defer stop()
			stopped, err := f.stop(ctx, run)
			if f.json {
				if jsonErr := printJSON(stopped); jsonErr != nil {
					return jsonErr
				}
			} else {
				tellStopped(stopped)
			}
			for _, s := range stopped {
				if s.Error != "" {
					return exit(exitStuck)
				}
				for _, u := range s.Results {
					if u.Error != "" {
						return exit(exitStuck)
					}
				}
			}
			return err
		},
	}
}

func tellStopped(stopped []agent.Stopped) {
	if len(stopped) == 0 {
		fmt.Println("nothing to stop: no run has anything on this engine")
	}
	for _, s := range stopped {
		switch s.How {
		case agent.HowUndone:
			fmt.Printf("%s: its agent has undone everything\n", s.Run)
		case agent.HowKilled:
			fmt.Printf("%s: its agent did not answer and was killed; its faults were undone from its ledger\n", s.Run)
		case agent.HowDead:
			fmt.Printf("%s: its agent was dead; its faults were undone from its ledger\n", s.Run)
		}
		if s.Error != "" {
			fmt.Printf("  NOT STOPPED: %s\n", s.Error)
		}
		for _, u := range s.Results {
			fmt.Println("  " + report.UndoText(u))
		}
	}
}

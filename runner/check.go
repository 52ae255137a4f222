package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/supervise"
)

func (f *flags) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE.star …",
		Short: "Load, rehearse and verify experiments; touches nothing, needs no Docker",
		Args:  cobra.MinimumNArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return f.check(args) },
	}
}

func (f *flags) check(scripts []string) error {
	ctx, stop := interruptible()
	defer stop()
	refused := false
	checked := []spec.Experiment{}
	for _, script := range scripts {
		opt, err := f.options(script)
		if err != nil {
			return err
		}
		exp, err := supervise.Check(ctx, opt)
		if err != nil {
			complain(err)
			refused = true
			continue
		}
		checked = append(checked, exp)
		if !f.quiet && !f.json {
			fmt.Printf("%s: ok: %d objectives, %d abort conditions, %d faults in the rehearsal\n",
				script, len(exp.SLOs), len(exp.Aborts), countFaults(exp))
		}
	}
	if f.json {
		if err := printJSON(checked); err != nil {
			return err
		}
	}
	if refused {
		return exit(exitRefused)
	}
	return nil
}

func countFaults(exp spec.Experiment) (n int) {
	for _, s := range exp.Steps {
		if s.Fault != nil {
			n++
		}
	}
	return n
}

func (f *flags) recoverCommand() *cobra.Command {
	var install, show bool
	c := &cobra.Command{
		Use:   "recover",
		Short: "Undo whatever dead runs left on this engine",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if install || show {
				return f.installUnit(show)
			}
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			secrets, err := secretPlaces(f.secrets)
			if err != nil {
				return err
			}
			opt := supervise.Options{Exe: exe, Secrets: secrets, State: f.state, Project: f.project, Warn: logger().Warnf}
			var unread error // it allows nothing then, but keeps no fault in
			if opt.Policy, opt.Rules, unread = f.rules(); unread != nil {
				logger().Warnf("%v: faults are undone; the scripts' own rollbacks may only look", unread)
			}
			if err := f.agents(ctx, &opt); err != nil {
				return err
			}
			dead, err := supervise.Recover(ctx, opt)
			if err != nil && len(dead) == 0 {
				return err
			}
			if stuck := f.tellRecovered(dead); stuck != nil || err == nil {
				return stuck
			}
			logger().Error("not all of it is done", "err", err)
			return exit(exitFailed)
		},
	}
	c.Flags().BoolVar(&install, "install", false, "have systemd do it after every start of the host, with the flags given here")
	c.Flags().BoolVar(&show, "print", false, "show the unit that --install would write")
	return c
}

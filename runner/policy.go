package main

import (
	"cmp"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chaosrunner/runner/agent"
	"chaosrunner/runner/policy"
)

// rules reads the operator's policy, if there is one. The agent reads the file's
// text again: it is the agent that enforces it.
func (f *flags) rules() (*policy.File, *policy.Policy, error) {
	file, err := policy.Find(f.policy)
	if err != nil {
		return file, nil, err
	}
	p, err := file.Parse(agent.CheckTarget)
	return file, p, err
}

func (f *flags) policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "What the operator allows: a file that narrows what scripts may do",
		Args:  cobra.NoArgs,
		Long: `The operator's policy is a YAML file that narrows what any script may do. It is
read from --policy, else from ` + policy.Default + ` if that is there, and the
agent enforces it on every fault. Without a rule, what it is about is allowed,
but for write_sql, host_disk and root_netns.

  never: [postgres, "label:tier=db"]   # targets that nothing may touch
  kinds: [kill, pause, netem]          # of faults
  longest: 60s                         # that one fault may last
  at_most: 2                           # containers harmed at once, over all runs on the engine
  hours:                               # a fault begins and ends in them
    zone: Europe/Berlin
    days: [mon, tue, wed, thu, fri]
    from: "09:00"
    until: "17:00"
  exec: false                          # run programs in containers
  io: false                            # slow a container's disks down
  write_sql: true                      # send SQL that writes
  host_disk: true                      # fill a disk that the host itself lives on
  root_netns: true                     # harm the host's own network namespace`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(&cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what a policy means, or what is wrong with it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.policy = args[0]
			}
			return f.checkPolicy()
		},
	})
	return c
}

func (f *flags) checkPolicy() error {
	file, p, err := f.rules()
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(p.Lines())
	}
	if file == nil {
		fmt.Printf("there is no policy: %s is not there, and none is named. Then:\n", policy.Default)
	} else {
		fmt.Printf("%s is in order:\n", file.Path)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	for _, l := range p.Lines() {
		fmt.Fprintf(w, "  %s\t%s\t(%s)\n", l.Rule, l.Says, cmp.Or(l.Where, "without a rule"))
	}
	return w.Flush()
}

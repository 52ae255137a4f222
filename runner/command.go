package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/log"
	"github.com/spf13/cobra"

	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/place"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/supervise"
)

// Exit codes that are no verdict; see report.Result.Code for the others.
const (
	exitRefused = 64 // the script, the command line or the world does not allow it
	exitFailed  = 5
	exitStuck   = 6
)

// flags are what every subcommand that takes a script understands.
type flags struct {
	set, libs, allow   []string
	secrets            []string
	root, project      string
	out, log           string
	state, volume      string // of the ledgers
	agent, socket      string // where agents run
	expect, policy     string
	seed               uint64
	heartbeat, undo    time.Duration
	think              time.Duration
	shared             bool
	json, quiet, noisy bool
}

// exit carries an exit code through cobra; what is to be said was said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func execute(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.Execute()
	var code exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	return complain(err)
}

// complain tells an error and returns its exit code. A refusal is told in
// terms of the script, each error once.
func complain(err error) int {
	var refusal *supervise.Refusal
	if errors.As(err, &refusal) {
		for _, e := range refusal.Errors {
			fmt.Fprintln(os.Stderr, e.Error())
		}
		return exitRefused
	}
	fmt.Fprintf(os.Stderr, "runner: %v\n", err)
	return exitRefused
}

func newRoot() *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use:   "runner FILE.star …",
		Short: "Run chaos experiments whose faults always come back out",
		Long: `runner runs chaos experiments written in Starlark against a live system in Docker:
traffic flows, a steady state is verified, a fault is injected, service levels are
watched, the fault is taken back, recovery is timed, and a dated verdict with its
evidence is appended to CHAOS_LOG.md.

Exit code, the first that applies: 6 something is stuck · 130, 143 interrupted ·
5 failed · 64 refused · 3 aborted · 1 broke · 4 inconclusive · 0 held.`,
		Example:       "  runner experiments/exp1.star\n  runner check experiments/*.star\n  runner plan exp1",
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return f.run(args)
		},
	}
	all := root.PersistentFlags()
	all.StringArrayVar(&f.set, "set", nil, "give a param(): NAME=VALUE")
	all.StringArrayVar(&f.secrets, "secret", nil, "where the value of a secret() is: NAME=@FILE or NAME=env:VARIABLE (default the variable RUNNER_SECRET_NAME)")
	all.StringVar(&f.root, "root", "", `workspace root for load("//…"); else the nearest folder with lib.star, else with .git`)
	all.StringArrayVar(&f.libs, "lib", nil, `a library for load("@name//…"): NAME=DIR`)
	all.Uint64Var(&f.seed, "seed", 0, "of pick(); 0 draws one, which the journal tells")
	all.StringVar(&f.project, "project", "", "the Compose project of the targets; else that of the current folder, else any, if that is not ambiguous")
	all.StringArrayVar(&f.allow, "allow", nil, "allow faults on this target though it has no label chaos.allow=true")
	all.StringVar(&f.policy, "policy", "", "what the operator allows; see runner policy (default "+policy.Default+", if it is there)")
	all.StringVar(&f.state, "state", "", "folder of the ledgers, on the engine's host (default "+ledger.Default+")")
	all.StringVar(&f.volume, "volume", "", "volume of the ledgers of agents in containers, instead of a folder; on a rootless engine "+place.DefaultVolume)
	all.StringVar(&f.agent, "agent", place.Auto, "where the process that injects and undoes runs: local (root on the engine's host), container, or auto")
	all.StringVar(&f.socket, "agent-socket", "", "the engine's socket as a path on the engine's own host, for a container as agent (default "+place.DefaultSocket+")")
	all.DurationVar(&f.think, "think", 0, "how long a script may compute without a call before it counts as hung (default 15s)")
	all.BoolVar(&f.json, "json", false, "print results as JSON")
	all.BoolVarP(&f.quiet, "quiet", "q", false, "print verdicts only")
	all.BoolVarP(&f.noisy, "verbose", "v", false, "print every event")
	f.runFlags(root)
	root.AddCommand(f.runCommand(), f.checkCommand(), f.planCommand(), f.recoverCommand(), f.statusCommand(), f.stopCommand(), f.reportCommand(), f.policyCommand(), docsCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

func (f *flags) runFlags(c *cobra.Command) {
	c.Flags().StringVar(&f.out, "out", "runs", "folder of the runs' evidence")
	c.Flags().StringVar(&f.log, "log", "CHAOS_LOG.md", `file that gets an entry a run; "" for none`)
	c.Flags().StringVar(&f.expect, "expect", "", "exit 0 for this verdict (held, broke, inconclusive) and 1 for another")
	c.Flags().BoolVar(&f.shared, "shared", false, "go on beside other runs on this engine that are shared too; one at a time may harm a container")
	c.Flags().DurationVar(&f.undo, "undo", 0, "how long one undo may take before it counts as stuck (default 30s)")
	c.Flags().DurationVar(&f.heartbeat, "heartbeat", 0, "silence after which the agent undoes everything (default 3s)")
}

func (f *flags) options(script string) (supervise.Options, error) {
	exe, err := os.Executable()
	if err != nil {
		return supervise.Options{}, err
	}
	script, err = find(script)
	if err != nil {
		return supervise.Options{}, err
	}
	params, err := pairs("--set", f.set)
	if err != nil {
		return supervise.Options{}, err
	}
	secrets, err := secretPlaces(f.secrets)
	if err != nil {
		return supervise.Options{}, err
	}
	libs, err := pairs("--lib", f.libs)
	if err != nil {
		return supervise.Options{}, err
	}
	project := f.project
	if project == "" {
		project = projectOf(".", os.Getenv("COMPOSE_PROJECT_NAME"))
	}
	file, rules, err := f.rules()
	if err != nil {
		return supervise.Options{}, err
	}
	seed := f.seed
	if seed == 0 {
		seed = rand.Uint64N(1<<32-1) + 1 // short enough to type again
	}
	return supervise.Options{
		Exe: exe, Script: script, Root: f.root, Libs: libs, Params: params, Secrets: secrets, Seed: seed,
		Project: project, Allow: f.allow, Policy: file, Rules: rules, Shared: f.shared, State: f.state, Heartbeat: f.heartbeat, Undo: f.undo, Think: f.think,
		Out: f.out, Log: f.log, Args: os.Args[1:], Version: version(), Warn: logger().Warnf,
	}, nil
}

// find looks for a script as given, with .star, and in experiments/.
func find(script string) (string, error) {
	var tried []string
	for _, path := range []string{script, script + ".star", filepath.Join("experiments", script), filepath.Join("experiments", script+".star")} {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			return path, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		tried = append(tried, path)
	}
	return "", fmt.Errorf("there is no script %s (nor %s)", script, strings.Join(tried[1:], ", "))
}

func pairs(flag string, all []string) (map[string]string, error) {
	m := map[string]string{}
	for _, pair := range all {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%s: got %q, want NAME=VALUE", flag, pair)
		}
		if old, twice := m[name]; twice {
			return nil, fmt.Errorf("%s: got %s twice, as %q and %q", flag, name, old, value)
		}
		m[name] = value
	}
	return m, nil
}

// secretPlaces reads --secret. A value that somebody wrote there is not told back.
func secretPlaces(all []string) (map[string]string, error) {
	places := map[string]string{}
	for _, pair := range all {
		name, from, _ := strings.Cut(pair, "=")
		file, isFile := strings.CutPrefix(from, "@")
		variable, isEnv := strings.CutPrefix(from, "env:")
		_, twice := places[name]
		switch {
		case name == "" || file == "" && variable == "" || !isFile && !isEnv:
			return nil, errors.New("--secret: want NAME=@FILE or NAME=env:VARIABLE: a value on the command line is seen by everyone")
		case twice:
			return nil, fmt.Errorf("--secret: got %s twice", name)
		case isFile:
			path, err := filepath.Abs(file)
			if err != nil {
				return nil, fmt.Errorf("--secret %s: %w", name, err)
			}
			from = "@" + path
		}
		places[name] = from
	}
	return places, nil
}

// interruptible is a context that a signal ends. Each further signal is told,
// and changes nothing: an undo under way is never skipped.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP)
	go func() {
		first := true
		for s := range signals {
			name := signalName(s)
			if first {
				fmt.Fprintf(os.Stderr, "\n%s: ending in order, everything is undone first\n", name)
				cancel(supervise.Signal{Name: name})
				first = false
				continue
			}
			fmt.Fprintf(os.Stderr, "%s again: the undo goes on; it is never skipped\n", name)
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

func signalName(s os.Signal) string {
	switch s {
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGHUP:
		return "SIGHUP"
	case syscall.SIGQUIT:
		return "SIGQUIT"
	case syscall.SIGTSTP:
		return "SIGTSTP"
	}
	return "SIGTERM"
}

func logger() *log.Logger { return log.NewWithOptions(os.Stderr, log.Options{Prefix: "runner"}) }

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return fmt.Sprintf("%s (protocol %d)", info.Main.Version, protocol.Version)
}

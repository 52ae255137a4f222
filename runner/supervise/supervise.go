// Package supervise is the run: it gates, injects, watches, takes back and
// judges. It never runs Starlark and never touches a target itself.
//
//	worker ──calls──▶ serve ──▶ agent.apply          gate      refuses before anything is touched
//	                    │                            watch     evaluates, beats the heart, fires aborts
//	             watch ─┴─ finish ──▶ agent.undo_all  recovery  times how long the objectives take to hold again
//	                                                 verdict   is package report's fold over the journal
//
// There is one way out, finish, whatever the reason: it latches the first
// reason, orders the undo at once and from then on nothing can be injected.
package supervise

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/modules"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

// run is one experiment under way.
type run struct {
	opt     Options
	id      string
	dir     string // absolute
	began   time.Time
	now     func() time.Time // the wall clock of every window and sample; it never steps back
	modules *modules.Resolver
	exp     spec.Experiment
	radius  map[string]bool // ids of the containers that may be touched

	journal *journal.Journal
	live    atomic.Bool // the journal is there
	agent   *agent
	heir    atomic.Pointer[agent] // of an agent that was lost
	worker  *worker
	watch   *watcher
	audit   *auditor
	sources *sources
	secrets atomic.Pointer[secrets]

	ctx    context.Context // ends when the method must end: finish was called
	cancel context.CancelCauseFunc

	mu        sync.Mutex
	method    bool                  // method() is running: faults may come
	undoing   bool                  // the one undo of everything was ordered
	stopping  *journal.Stopping     // why the run ends early; the first reason
	faults    map[string]*liveFault // by handle
	order     []string
	capped    *time.Timer // the blast radius's duration
	first     time.Time   // the first fault was applied
	last      time.Time   // the last fault was undone
	results   map[string]protocol.UndoResult
	rollbacks []protocol.Rollback         // that were asked for
	rolled    map[string]journal.Rollback // by id: those that have run
	lost      error                       // the agent died or wedged
	notes     int
	remarks   int // of faults

	places sync.Map // endpoint → place

	undoOnce sync.Once
	undoDone chan struct{}
	hurry    chan struct{} // closed by a signal: no more waiting
	hurried  sync.Once
}

// liveFault is a fault that the script asked for.
type liveFault struct {
	handle protocol.Handle
	fault  spec.Fault
	timer  *time.Timer   // ends it after its duration
	done   chan struct{} // closed once it was taken back
	undone bool
}

// Run runs one experiment. The error is a *Refusal, or what kept the run from
// starting; once the journal exists everything is told by the Result.
func Run(ctx context.Context, opt Options) (report.Result, error) {
	r, err := newRun(opt)
	if err != nil {
		return report.Result{}, err
	}
	r.ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	defer r.cancel(nil)

	if err := r.openAgent(ctx); err != nil {
		return report.Result{}, err
	}
	defer r.closeAgent()
	failpoint.Hit("run-greeted")
	go r.watch.loop()
	defer r.watch.stop()
	if err := r.settleDead(); err != nil {
		r.opt.warn("%v", err) // this run goes on, or its watcher ends it
	}

	if err := r.gate(ctx); err != nil {
		return report.Result{}, r.secrets.Load().refusal(err)
	}
	defer func() { r.worker.end() }() // of the last: a rollback may have had a fresh one
	if err := r.openJournal(); err != nil {
		return report.Result{}, err
	}
	failpoint.Hit("run-journal")
	r.audit = newAuditor(r)
	defer context.AfterFunc(ctx, func() { r.interrupted(context.Cause(ctx)) })()
	go r.watchJournal()

	r.execute()
	return r.conclude()
}

func newRun(opt Options) (*run, error) {
	resolver, name, err := open(opt)
	if err != nil {
		return nil, err
	}
	r := &run{
		opt: opt, modules: resolver, began: time.Now(), now: sli.Clock(),
		faults: map[string]*liveFault{}, results: map[string]protocol.UndoResult{},
		rolled:   map[string]journal.Rollback{},
		undoDone: make(chan struct{}), hurry: make(chan struct{}),
	}
	r.exp.Name = name
	r.id = r.began.UTC().Format("20060102T150405.000Z") + "-" + name
	r.dir, err = absolute(opt.Out, r.id)
	if err != nil {
		return nil, err
	}
	r.watch = newWatcher(r)
	return r, nil
}

// execute is the course of a run. Every step looks whether the run is ending.
func (r *run) execute() {
	if r.startSources() && r.steady() && r.audit.baseline() {
		r.audit.forget()
		r.audit.watch()
		r.runMethod()
	}
	r.undoAll("end of the run")
	<-r.undoDone
	r.runRollbacks()
	r.recover()
	r.audit.close()
	r.sources.stop()
	r.journal.Record(journal.Phase{Name: journal.PhaseDone})
}

func (r *run) hello() protocol.Hello {
	script, _ := absolute(r.opt.Script)
	log := ""
	if r.opt.Log != "" {
		log, _ = absolute(r.opt.Log)
	}
	return protocol.Hello{
		Run: r.id, Mode: protocol.ModeRun, State: r.opt.State, Project: r.opt.Project,
		Allow: r.opt.Allow, Policy: r.opt.Policy, Shared: r.opt.Shared, Heartbeat: r.opt.Heartbeat, Undo: r.opt.Undo,
		Header: protocol.RunHeader{Name: r.exp.Name, Script: script, OutDir: r.dir, Log: log},
	}
}

func (r *run) openAgent(ctx context.Context) error {
	a, err := startAgent(ctx, r.opt.Agent, r.hello(), r.agentEvent)
	if err != nil {
		return err
	}
	r.agent = a
	return nil
}

func (r *run) openJournal() error {
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the run's folder: %w", err)
	}
	j, err := journal.Create(r.file("journal.jsonl"), r.began, r.opt.Each)
	if err != nil {
		return err
	}
	j.Hide(func(data any) any { s := r.secrets.Load(); return s.hide(data, s.text) })
	r.journal = j
	r.live.Store(true)
	host, _ := os.Hostname()
	w := r.agent.welcome
	j.Record(journal.Begun{
		Run: r.id, Name: r.exp.Name, Script: r.opt.Script, Args: r.opt.Args, Seed: r.opt.Seed, Set: r.opt.Params,
		Project: r.opt.Project, Engine: engineText(w),
		Policy: r.opt.Policy, Ledger: w.Ledger, Runner: r.opt.Version, Host: host, Rings: r.worker.rings,
		PIDs: map[string]int{"supervisor": os.Getpid(), "agent": w.PID, "worker": r.worker.pid()},
	})
	for _, dead := range w.Recovered {
		j.Record(dead)
	}
	j.Record(r.exp)
	return r.keepSources()
}

func engineText(w protocol.Welcome) string {
	if w.EngineVersion == "" {
		return w.EngineID + ", without a Docker engine"
	}
	return fmt.Sprintf("%s, Docker %s, API %s", w.EngineID, w.EngineVersion, w.APIVersion)
}

// targetNames are for errors and journals.
func targetNames(targets []fault.Target) string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.Name
	}
	return strings.Join(names, ", ")
}

package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/modules"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

// open finds the script, and its name: the file's base name without ".star".
func open(opt Options) (*modules.Resolver, string, error) {
	resolver, err := modules.New(opt.Script, opt.Root, opt.Libs)
	if err != nil {
		return nil, "", &Refusal{Errors: []protocol.ScriptError{{Message: err.Error()}}}
	}
	return resolver, strings.TrimSuffix(filepath.Base(opt.Script), ".star"), nil
}

func absolute(parts ...string) (string, error) {
	path, err := filepath.Abs(filepath.Join(parts...))
	if err != nil {
		return "", fmt.Errorf("cannot make %s absolute: %w", filepath.Join(parts...), err)
	}
	return path, nil
}

func (r *run) file(name string) string { return filepath.Join(r.dir, name) }

// keepSources copies the sources that this run runs into its folder.
func (r *run) keepSources() error {
	for name, source := range r.modules.Loaded() {
		path := filepath.Join(r.dir, "sources", filepath.FromSlash(strings.TrimLeft(strings.ReplaceAll(name, "//", "/"), "/@")))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot keep the sources: %w", err)
		}
		if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
			return fmt.Errorf("cannot keep the sources: %w", err)
		}
	}
	return nil
}

// conclude folds the journal into the result and writes the documents. A
// document that cannot be written is an error beside the result: the verdict
// is not lost with it.
func (r *run) conclude() (report.Result, error) {
	result := report.Fold(r.journal.Events())
	r.journal.Record(journal.Ended{Verdict: result.Verdict, Ending: result.Ending, Stuck: result.Stuck, Reason: result.Reason, Exit: result.Exit})
	failpoint.Hit("run-result")
	err := errors.Join(r.journal.Close(), r.sources.writeMetrics(r.file("metrics.txt")))
	return result, errors.Join(err, writeDocuments(r.dir, r.opt.Log, result))
}

func writeDocuments(dir, log string, result report.Result) error {
	raw, err := json.MarshalIndent(result, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "result.json"), append(raw, '\n'), 0o644)
	}
	if log == "" {
		return err
	}
	failpoint.Hit("run-log")
	return errors.Join(err, report.Append(log, result.Run, result.Entry(evidence(dir, log))))
}

// evidence is the run's folder as a reader of the log finds it.
func evidence(dir, log string) string {
	log, err := filepath.Abs(log)
	if err != nil {
		return dir
	}
	rel, err := filepath.Rel(filepath.Dir(log), dir)
	if err != nil {
		return dir
	}
	return filepath.ToSlash(rel)
}

// ReadRun reads the journal in a run's folder and folds it.
func ReadRun(dir string) (report.Result, error) {
	events, err := readJournal(dir)
	if err != nil && len(events) == 0 {
		return report.Result{}, err
	}
	return report.Fold(events), err
}

func readJournal(dir string) (events []journal.Event, err error) {
	file, err := os.Open(filepath.Join(dir, "journal.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("no run in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return journal.Read(file)
}

// documented says whether a run has its result and its log entry: a supervisor
// may die between its last event and these.
func documented(dir, log string) bool {
	raw, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil || !json.Valid(raw) {
		return false
	}
	if log == "" {
		return true
	}
	entries, err := os.ReadFile(log)
	return err == nil && strings.Contains(string(entries), report.Marker(filepath.Base(dir)))
}

// settleAbandoned writes the end of a run whose supervisor died: what was
// undone after its death, its result and its log entry. A run that died before
// it had a journal had touched nothing and gets none.
func settleAbandoned(dead protocol.Abandoned, rolled []journal.Rollback) error {
	if dead.Header.OutDir == "" {
		return nil
	}
	events, err := readJournal(dead.Header.OutDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if len(events) == 0 {
		return err
	}
	ended := slices.ContainsFunc(events, func(e journal.Event) bool { _, is := e.Data.(journal.Ended); return is })
	if ended && documented(dead.Header.OutDir, dead.Header.Log) {
		return nil // it ended in order; only its ledger was still there
	}
	if !ended {
		late, err := appendEvents(dead, rolled, events)
		if err != nil {
			return err
		}
		events = append(events, late...)
	}
	result := report.Fold(events)
	abs, err := filepath.Abs(dead.Header.OutDir)
	if err != nil {
		return err
	}
	return writeDocuments(abs, dead.Header.Log, result)
}

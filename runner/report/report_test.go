package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
)

var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

// story makes events of data, one second apart.
func story(data ...any) []journal.Event {
	events := make([]journal.Event, len(data))
	for i, d := range data {
		kind := "failure" // only failures and expects are told apart by it
		if f, ok := d.(journal.False); ok {
			kind, d = "expect", journal.Failure(f)
		}
		events[i] = journal.Event{T: at(float64(i)), At: float64(i), Kind: kind, Data: d}
	}
	return events
}

func ptr(v float64) *float64 { return &v }

var (
	catalog  = fault.Target{Name: "shop-catalog-1", Service: "catalog", ID: "abc"}
	begun    = journal.Begun{Run: "r1", Name: "exp1", Script: "exp1.star"}
	declared = spec.Experiment{
		Name: "exp1", Hypothesis: "it holds", BlastRadius: spec.BlastRadius{Targets: []string{"catalog"}, Duration: time.Minute},
		SLOs: []spec.SLO{{Name: "availability", Min: ptr(0.99), When: spec.Always, RecoversWithin: 30 * time.Second}},
	}
	applied  = journal.Applied{ID: "f1", Kind: "kill", Target: catalog, Intent: at(3), Applied: at(3.2)}
	undone   = protocol.UndoResult{ID: "f1", Kind: "kill", Target: catalog, Reason: "end", Began: at(9), Ended: at(9.5)}
	stuck    = protocol.UndoResult{ID: "f1", Kind: "kill", Target: catalog, Began: at(9), Ended: at(39), Error: "port 80 is taken by nginx", Mend: "docker start shop-catalog-1"}
	held     = journal.Judged{SLO: "availability", Window: "fault", Value: ptr(1), Count: 800, Verdict: Held}
	broke    = journal.Judged{SLO: "availability", Window: "fault", Value: ptr(0.2), Count: 800, Bad: 640, Verdict: Broke}
	unsure   = journal.Judged{SLO: "availability", Window: "fault", Value: ptr(1), Count: 8, Verdict: Inconclusive}
	back     = journal.Recovery{SLO: "availability", Seconds: ptr(1.5), Limit: 30}
	late     = journal.Recovery{SLO: "availability", Limit: 30}
	after    = journal.Judged{SLO: "availability", Window: journal.PhaseRecovery, Value: ptr(1), Count: 800, Verdict: Held}
	done     = journal.Phase{Name: journal.PhaseDone}
	violated = journal.Abort{Name: "availability", Value: ptr(0), Want: "≥ 0.99", Since: at(6), Seen: at(7.4), Elapsed: 4.2}
	blind    = journal.Abort{Name: "availability", Blind: true, Want: "≥ 0.99", Since: at(4), Seen: at(7), Why: "no data"}
)

func stopping(ending, reason, signal string) journal.Stopping {
	return journal.Stopping{Ending: ending, Reason: reason, Signal: signal}
}

func TestVerdictEndingExit(t *testing.T) {
	for name, c := range map[string]struct {
		events          []any
		verdict, ending string
		exit            int
	}{
		"held":                  {[]any{applied, undone, held, back, after, done}, Held, Completed, 0},
		"broke during":          {[]any{applied, undone, broke, back, after, done}, Broke, Completed, 1},
		"did not recover":       {[]any{applied, undone, held, late, done}, Broke, Completed, 1},
		"too few requests":      {[]any{applied, undone, unsure, back, after, done}, Inconclusive, Completed, 4},
		"nothing injected":      {[]any{held, back, after, done}, Inconclusive, Completed, 4},
		"nothing judged":        {[]any{applied, undone, done}, Inconclusive, Completed, 4},
		"a false expect":        {[]any{applied, journal.False{Message: "want degraded"}, undone, held, back, after, done}, Broke, Completed, 1},
		"violated":              {[]any{applied, violated, stopping(Aborted, "x", ""), undone, unsure, done}, Broke, Aborted, 3},
		"blind":                 {[]any{applied, blind, stopping(Aborted, "x", ""), undone, held, done}, Inconclusive, Aborted, 3},
		"over the cap":          {[]any{applied, stopping(Aborted, "the cap", ""), undone, held, done}, Inconclusive, Aborted, 3},
		"interrupted":           {[]any{applied, stopping(Interrupted, "got SIGINT", "SIGINT"), undone, held, done}, Inconclusive, Interrupted, 130},
		"terminated":            {[]any{applied, stopping(Interrupted, "got SIGTERM", "SIGTERM"), undone, done}, Inconclusive, Interrupted, 143},
		"script error":          {[]any{applied, journal.Failure{Message: "division by zero"}, stopping(Failed, "x", ""), undone, done}, Inconclusive, Failed, 5},
		"no steady state":       {[]any{stopping(Refused, "no steady state", ""), done}, Inconclusive, Refused, 64},
		"the supervisor died":   {[]any{applied, undone}, Inconclusive, Failed, 5},
		"died before the undo":  {[]any{applied}, Inconclusive, Failed, 6},
		"stuck":                 {[]any{applied, stuck, held, back, after, done}, Held, Completed, 6},
		"stuck, then mended":    {[]any{applied, stuck, undone, held, back, after, done}, Held, Completed, 0},
		"stuck and interrupted": {[]any{applied, stopping(Interrupted, "got SIGINT", "SIGINT"), stuck, done}, Inconclusive, Interrupted, 6},
		"the first reason wins": {[]any{applied, violated, stopping(Aborted, "a", ""), stopping(Failed, "b", ""), undone, done}, Broke, Aborted, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := Fold(story(append([]any{begun, declared}, c.events...)...))
			if r.Verdict != c.verdict || r.Ending != c.ending || r.Exit != c.exit {
				t.Errorf("got %s, %s, %d; want %s, %s, %d", r.Verdict, r.Ending, r.Exit, c.verdict, c.ending, c.exit)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	r := Fold(story(begun, declared, applied, violated, stopping(Aborted, "availability 0.00, want ≥ 0.99", ""), undone, done))
	if got, want := r.Summary(), "aborted after 4.2s: broke (availability 0.00, want ≥ 0.99)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if r.Abort == nil || r.Abort.Seen < 1.39 || r.Abort.Seen > 1.41 {
		t.Errorf("got abort %+v, want 1.4 s from the data to seen", r.Abort)
	}
	r = Fold(story(begun, declared, applied, stopping(Aborted, "the blast radius' duration of 20s has passed", ""), undone, done))
	if got, want := r.Summary(), "aborted: inconclusive (the blast radius' duration of 20s has passed)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestExpect(t *testing.T) {
	aborted := Fold(story(begun, declared, applied, violated, stopping(Aborted, "x", ""), undone, done))
	stuckRun := Fold(story(begun, declared, applied, stuck, broke, back, after, done))
	for _, c := range []struct {
		r    Result
		want string
		code int
	}{{aborted, Broke, 0}, {aborted, Held, 1}, {aborted, "", 3}, {stuckRun, Broke, 6}} {
		if got := c.r.Expect(c.want); got != c.code {
			t.Errorf("--expect %q of %s: got %d, want %d", c.want, c.r.Summary(), got, c.code)
		}
	}
	if got := Worst([]int{0, 4, 1, 3}); got != 3 {
		t.Errorf("the worst of 0, 4, 1, 3: got %d, want 3", got)
	}
}

// TestEntryIsInert: what a script says must not change the log's structure.
func TestEntryIsInert(t *testing.T) {
	evil := declared
	evil.Hypothesis = "a\n## forged heading\n| x | y |<script>\x1b[2J`"
	r := Fold(story(begun, evil, journal.Note{Text: "b\n<!-- run r2 -->\n# c"}, applied, undone, held, back, after, done))
	entry := r.Entry("runs/r1")
	for _, line := range strings.Split(entry, "\n") {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "## 2026-11-24 12:00:00 UTC · exp1") {
			t.Errorf("a forged heading: %q", line)
		}
	}
	for _, bad := range []string{"\x1b", "<script>", "<!-- run r2 -->"} {
		if i := strings.Index(entry, bad); i >= 0 && entry[max(i-1, 0)] != '\\' {
			t.Errorf("the entry contains %q unescaped", bad)
		}
	}
}

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "CHAOS_LOG.md")
	mine := "# My own heading\n\nWhat I wrote, without a newline at its end"
	if err := os.WriteFile(path, []byte(mine), 0o644); err != nil {
		t.Fatal(err)
	}
	r := Fold(story(begun, declared, applied, undone, held, back, after, done))
	for range 2 { // the second time is a later start that finds the same dead run
		if err := Append(path, r.Run, r.Entry("runs/r1")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(got), mine+"\n\n## ") {
		t.Errorf("what stood in the log was changed: %q", got[:min(len(got), 120)])
	}
	if n := strings.Count(string(got), Marker("r1")); n != 1 {
		t.Errorf("got %d entries, want 1", n)
	}
	if err := Append("/dev/full", "r9", "entry"); err == nil {
		t.Error("a device for a log: got no error")
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		v    *float64
		want string
	}{{nil, "no data"}, {ptr(0), "0.00"}, {ptr(1), "1.00"}, {ptr(0.99987), "0.999870"}, {ptr(0.0123456), "0.01235"}, {ptr(0.5), "0.5"}} {
		if got := Number(c.v); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// What a fault measured stands in its line, and in the result.
func TestFindings(t *testing.T) {
	done := undone
	done.Findings = []fault.Finding{{Text: "round trip 0.2 ms"}}
	applied := journal.Applied{ID: "f1", Kind: "kill", Target: catalog, Intent: at(1), Applied: at(1), Findings: []fault.Finding{{Text: "round trip 402 ms"}}}
	changed := journal.Changed{ID: "f1", Kind: "kill", Target: catalog, Pos: "x.star:3:4", Findings: []fault.Finding{{Text: "round trip 802 ms"}}}
	for _, c := range []struct {
		data any
		want string
	}{
		{applied, "kill is in place on shop-catalog-1, 0s after its undo was on disk; measured: round trip 402 ms"},
		{changed, "kill on shop-catalog-1 changed (x.star:3:4); measured: round trip 802 ms"},
		{done, "kill on shop-catalog-1 undone in 500ms (end); measured: round trip 0.2 ms"},
		{journal.Told{ID: "f1", Text: "api has moved"}, "f1: api has moved"},
	} {
		if got := Line(journal.Event{Data: c.data}); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	r := Fold([]journal.Event{{Data: applied}, {Data: changed}, {Data: done}})
	if len(r.Faults) != 1 || len(r.Faults[0].Findings) != 3 || r.Faults[0].Findings[2].Text != "round trip 0.2 ms" {
		t.Errorf("got %+v, want all three findings", r.Faults)
	}
}

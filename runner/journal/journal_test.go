package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
)

func write(t *testing.T, path string, data ...any) []Event {
	t.Helper()
	j, err := Create(path, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range data {
		j.Record(d)
	}
	events := j.Events()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return events
}

var some = []any{
	Begun{Run: "r1", Name: "exp1", Seed: 1<<63 + 1},
	spec.Experiment{Name: "exp1", Hypothesis: "it holds"},
	Applied{ID: "f1", Kind: "kill", Target: fault.Target{Name: "catalog", ID: "abc"}},
	False{Where: "method", Message: "expected"},
	Failure{Where: "agent", Message: "died"},
	Note{Text: "a\nb\x1b[31m"},
	Ended{Verdict: "held", Ending: "completed"},
}

func TestReadWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	want := write(t, path, some...)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(raw))
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %d events, %v; want %d", len(got), err, len(want))
	}
	for i := range got {
		if got[i].Kind != want[i].Kind || !reflect.DeepEqual(got[i].Data, want[i].Data) {
			t.Errorf("event %d: got %s %+v, want %s %+v", i, got[i].Kind, got[i].Data, want[i].Kind, want[i].Data)
		}
	}
	if got[3].Kind != "expect" || got[4].Kind != "failure" {
		t.Errorf("got %q and %q, want a false expect told from a failure", got[3].Kind, got[4].Kind)
	}
}

// TestReadCutAnywhere: a supervisor can die in the middle of any byte.
func TestReadCutAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	write(t, path, some...)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		events, err := Read(bytes.NewReader(raw[:n]))
		if want := bytes.Count(raw[:n], []byte("\n")); err != nil || len(events) != want {
			t.Fatalf("cut at %d: got %d events, %v; want the %d whole ones", n, len(events), err, want)
		}
	}
	events, err := Read(strings.NewReader(strings.Replace(string(raw), `"applied"`, `"applauded"`, 1)))
	if err == nil || len(events) != 2 {
		t.Errorf("damage in the middle: got %d events, %v; want the two before it and an error", len(events), err)
	}
}

func TestFullDisk(t *testing.T) {
	j, err := Create("/dev/full", time.Now(), nil)
	if err == nil {
		j.Close()
		t.Fatal("got a journal over an existing file, want a refusal")
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	j, err = Create(filepath.Join(t.TempDir(), "j"), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	j.file = full
	j.Record(Note{Text: "one"})
	<-j.Failed()
	j.Record(Note{Text: "two"})
	if n := len(j.Events()); n != 2 {
		t.Errorf("got %d events in memory, want both: the verdict does not depend on the disk", n)
	}
	if err := j.Close(); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("got %v, want the first failed write", err)
	}
}

func TestEveryKindHasOneStruct(t *testing.T) {
	for name, typ := range Kinds {
		if kind, _ := kindOf(reflect.New(typ).Elem().Interface()); kind != name && name != "expect" {
			t.Errorf("%s: its struct is recorded as %q", name, kind)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"t":"2026-01-01T00:00:00Z","at":0,"event":"note","data":{"text":"x"}}` + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		events, err := Read(bytes.NewReader(raw))
		if err == nil && len(events) != bytes.Count(raw, []byte("\n")) {
			t.Errorf("got %d events of %d lines and no error", len(events), bytes.Count(raw, []byte("\n")))
		}
	})
}

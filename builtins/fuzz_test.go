package builtins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chaosrunner/runner/protocol"
)

// Whatever a file holds, reading it ends, with errors that are harmless and
// lie in the file.
func FuzzCompile(f *testing.F) {
	for _, pattern := range []string{"testdata/*.star", "testdata/hostile/*.star"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			source, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(source[:min(len(source), 2000)]))
		}
	}
	f.Add("x = f\"{y}\"\n")
	f.Add("def f(:\n\"\"\"")
	s := New(f.Context(), Config{}, &fakeWorld{})
	f.Fuzz(func(t *testing.T, source string) {
		_, program, err := compile("x.star", source, s.predeclared)
		if (program == nil) != (err != nil) {
			t.Fatalf("got %v, %v", program, err)
		}
		found, _ := err.(sourceErrors)
		if err != nil && len(found) == 0 {
			t.Fatalf("got %T", err)
		}
		for _, e := range found {
			if !strings.HasPrefix(string(e.Pos), "x.star") || e.Message == "" || strings.ContainsAny(e.Message+e.Hint, "\x1b\n\r\x00") {
				t.Errorf("got %+v", e)
			}
		}
	})
}

// Arguments come back from JSON as they went, but that tuples become lists.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{"null", "[1, 2.5, true, \"x\", {\"a\": []}]", `{"$fault": {"kind": "kill", "id": "f1", "targets": ["a"]}}`, "1e400", "[[[[", "\xff"} {
		f.Add([]byte(s))
	}
	s := New(f.Context(), Config{Load: protocol.Load{}}, &fakeWorld{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := s.fromJSON(raw)
		if err != nil {
			return
		}
		once, err := toJSON(v)
		if err != nil {
			return // too long, too deep, a key that is ours, or no number
		}
		again, err := s.fromJSON(once)
		if err != nil {
			t.Fatalf("%s became %s, which cannot be read: %v", raw, once, err)
		}
		if twice, err := toJSON(again); err != nil || string(twice) != string(once) {
			t.Errorf("%s became %s, then %s, %v", raw, once, twice, err)
		}
	})
}

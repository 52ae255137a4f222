package builtins

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/runner/protocol"
)

// The table is whole: each builtin has a signature under its name, a paragraph,
// a function and a file of uses, and no file tests a builtin that is not there.
func TestTable(t *testing.T) {
	var names []string
	for _, row := range Table {
		names = append(names, row.Name)
		if !strings.HasPrefix(row.Signature, row.Name+"(") || row.call == nil {
			t.Errorf("%s: got signature %s", row.Name, row.Signature)
		}
		if len(row.Doc) < 40 || !strings.HasSuffix(row.Doc, ".") || strings.Contains(row.Doc, "\n") {
			t.Errorf("%s: want a paragraph, got %q", row.Name, row.Doc)
		}
		parseSignature(row.Signature) // panics on one that cannot be read
		for _, p := range parseSignature(row.Signature).params {
			if p.required && p.keyword {
				t.Errorf("%s: %s is required by name only", row.Name, p.name)
			}
		}
	}
	if len(names) != len(slices.Compact(slices.Sorted(slices.Values(names)))) {
		t.Error("a name stands twice")
	}
	files, err := filepath.Glob("testdata/*.star")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".star"); name != "shop" && !slices.Contains(names, name) {
			t.Errorf("%s tests no builtin", f)
		}
	}
	for name := range probes {
		if !slices.Contains(names, name) {
			t.Errorf("probe %s is no builtin", name)
		}
	}
}

// Each builtin says in the first comment of its file how it is called: as in
// the table.
func TestCommentsAreSignatures(t *testing.T) {
	var all strings.Builder
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if f != "table.go" {
			all.WriteString(strings.ReplaceAll(string(source), "\n// ", " "))
		}
	}
	text := strings.Join(strings.Fields(all.String()), " ")
	for _, row := range Table {
		if !strings.Contains(text, row.Signature) {
			t.Errorf("no comment says %s", row.Signature)
		}
	}
}

func TestDefaultSteadyState(t *testing.T) {
	for _, row := range Table {
		if row.Name != "steady_state" {
			continue
		}
		for _, p := range parseSignature(row.Signature).params {
			d, err := time.ParseDuration(string(p.fallback.(starlark.String)))
			if want := map[string]time.Duration{"baseline": defaultSteadyState.Baseline, "within": defaultSteadyState.Within}[p.name]; err != nil || d != want {
				t.Errorf("%s is %s without steady_state(), and %s with it", p.name, want, d)
			}
		}
	}
}

func TestReference(t *testing.T) {
	ref := Reference()
	for _, row := range Table {
		for _, want := range []string{"\n### " + row.Name + "\n", row.Signature, row.Doc} {
			if strings.Count(ref, want) < 1 {
				t.Errorf("the reference lacks %q", want)
			}
		}
	}
}

// The stub is Starlark, and holds every builtin.
func TestStub(t *testing.T) {
	globals, err := starlark.ExecFileOptions(dialect, new(starlark.Thread), "stub.star", Stub(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range Table {
		f, ok := globals[row.Name].(*starlark.Function)
		if !ok || len(f.Doc()) < 40 {
			t.Errorf("the stub lacks %s, or its doc", row.Name)
		}
	}
	for _, line := range strings.Split(Stub(), "\n") {
		if len([]rune(line)) > 100 && !strings.HasPrefix(line, "def ") {
			t.Errorf("a line of the stub is too long: %s", line)
		}
	}
}

// Every attribute that the reference names is there, and no other.
func TestReferenceOfValues(t *testing.T) {
	s := open(t, &fakeWorld{}, "", protocol.Load{})
	s.enter(loading, s.world)
	for _, v := range []starlark.HasAttrs{
		newRequests(s, "traffic", "t", 0), newRequests(s, "probe", "p", 0), &sloValue{}, &handle{s: s}, &figure{value: starlark.None}, s.newReply(protocol.HTTPReply{Status: 200}),
		rehearsedRows(rowExample{}),
	} {
		var want []string
		for _, row := range values {
			if row.name == v.Type() {
				for _, a := range row.attrs {
					want = append(want, a[:strings.IndexAny(a, "(:")])
				}
			}
		}
		slices.Sort(want)
		if got := v.AttrNames(); !slices.Equal(got, want) {
			t.Errorf("%s: the reference names %q, there is %q", v.Type(), want, got)
		}
		for _, name := range v.AttrNames() {
			if got, err := v.Attr(name); got == nil || err != nil {
				t.Errorf("%s.%s: got %v, %v", v.Type(), name, got, err)
			}
		}
		if got, err := v.Attr("nothing"); got != nil || err != nil {
			t.Errorf("%s.nothing: got %v, %v", v.Type(), got, err)
		}
	}
}

func TestOutside(t *testing.T) {
	for _, c := range []struct {
		target string
		radius []string
		want   bool
	}{
		{"catalog", []string{"catalog"}, false},
		{"catalog#2", []string{"catalog"}, false},
		{"catalog", []string{"catalog#2"}, false}, // it may be the only one
		{"shop_catalog_1", []string{"catalog"}, false},
		{"catalog", []string{"shop_catalog_1"}, false},
		{"chunk3", []string{"chunk*"}, false},
		{"catalog", []string{"chunk*"}, true},
		{"shop_chunk_3", []string{"*chunk*"}, false},
		{"redis", []string{"label:chaos=yes"}, false},
		{"label:chaos=yes", []string{"catalog"}, false},
		{"c*", []string{"catalog"}, false},
		{"redis", []string{"catalog", "payments"}, true},
		{"redis#1", []string{"catalog", "chunk*"}, true},
	} {
		if got := outside(c.target, c.radius); got != c.want {
			t.Errorf("%s in %v: got outside = %t", c.target, c.radius, got)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"abort_if", "blast_radius", "expect", "kill", "note", "observe", "pause", "pick", "slo", "stop"}
	for in, want := range map[string]string{
		"kil": "kill", "klil": "kill", "Kill": "kill", "obsevre": "observe", "blastradius": "blast_radius", "abortIf": "abort_if", "expects": "expect",
		"frobnicate": "", "x": "", "catalog": "", "": "", strings.Repeat("k", 100): "", "stp": "stop",
	} {
		if got := nearest(in, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

package builtins

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarktest"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// fakeWorld holds files and writes down what it is asked for.
type fakeWorld struct {
	files   map[string]string // by module; "//x.star"
	main    string
	replies []protocol.HTTPReply
	answers []protocol.SQLReply
	figures map[string]protocol.Figure
	fail    map[string]error // by call
	calls   []string
	notes   []protocol.Note
	rolls   []protocol.Rollback
	replica int // containers behind each expression
	faults  int
}

func (w *fakeWorld) did(call, format string, args ...any) error {
	w.calls = append(w.calls, call+" "+fmt.Sprintf(format, args...))
	return w.fail[call]
}

func (w *fakeWorld) Source(_ context.Context, in protocol.Source) (protocol.Sourced, error) {
	id := w.main
	if in.Path != "" {
		var err error
		if id, err = protocol.ModuleName(in.Path, in.From); err != nil {
			return protocol.Sourced{}, err
		}
	}
	source, ok := w.files[id]
	if !ok {
		return protocol.Sourced{}, fmt.Errorf("there is no %s", id)
	}
	return protocol.Sourced{Module: id, Name: strings.TrimPrefix(id, "//"), Source: source}, nil
}

func (w *fakeWorld) Fault(_ context.Context, in spec.Fault) (protocol.Handle, error) {
	w.faults++
	var targets []fault.Target
	for _, t := range in.Targets {
		targets = append(targets, fault.Target{Name: t})
	}
	return protocol.Handle{ID: fmt.Sprintf("f%d", w.faults), Targets: targets}, w.did("fault", "%s %s %s %s", in.Kind, strings.Join(in.Targets, "+"), in.Params, in.Duration)
}

func (w *fakeWorld) Change(_ context.Context, in protocol.Change) error {
	return w.did("change", "%s %s", in.ID, in.Params)
}

func (w *fakeWorld) Release(_ context.Context, in protocol.Release) error {
	return w.did("release", "%s", in.ID)
}

func (w *fakeWorld) Observe(_ context.Context, in protocol.Observe) (protocol.Figures, error) {
	return protocol.Figures{Values: w.figures}, w.did("observe", "%s", in.Duration)
}

func (w *fakeWorld) HTTP(_ context.Context, in protocol.HTTP) (protocol.HTTPReply, error) {
	reply := protocol.HTTPReply{Status: 200, Body: "hello", Headers: map[string]string{"server": "fake"}, Seconds: 0.25}
	if len(w.replies) > 0 {
		reply, w.replies = w.replies[0], w.replies[1:]
	}
	raw, _ := json.Marshal(in.Headers)
	return reply, w.did("http", "%s %s %s %s %s", in.Method, in.URL, raw, in.Body, in.Timeout)
}

func (w *fakeWorld) SQL(_ context.Context, in protocol.SQL) (protocol.SQLReply, error) {
	reply := protocol.SQLReply{Columns: []string{"n"}, Rows: [][]json.RawMessage{{json.RawMessage("7")}}, Seconds: 0.25}
	if len(w.answers) > 0 {
		reply, w.answers = w.answers[0], w.answers[1:]
	}
	return reply, w.did("sql", "%s %s %s %s %t", in.DSN, in.Query, in.Args, in.Timeout, in.Write)
}

func (w *fakeWorld) PromQL(_ context.Context, in protocol.PromQL) (protocol.Figure, error) {
	n := 7.0
	if in.Query == "absent" {
		return protocol.Figure{}, w.did("promql", "%s", in.Query)
	}
	return protocol.Figure{Value: &n}, w.did("promql", "%s", in.Query)
}

func (w *fakeWorld) Logs(_ context.Context, in protocol.Logs) (protocol.Logged, error) {
	return protocol.Logged{Lines: []string{"one", "two\x00"}}, w.did("logs", "%v %s %q", in.Targets, in.Since, in.Contains)
}

func (w *fakeWorld) Targets(_ context.Context, in protocol.Resolve) (protocol.Resolved, error) {
	var out protocol.Resolved
	for _, expr := range in.Targets {
		m := protocol.Match{Expr: expr}
		for i := range max(1, w.replica) {
			m.Targets = append(m.Targets, fault.Target{Name: fmt.Sprintf("p_%s_%d", expr, i+1), Service: expr, Index: i + 1})
		}
		out.Matches = append(out.Matches, m)
	}
	return out, w.did("targets", "%s", strings.Join(in.Targets, "+"))
}

func (w *fakeWorld) Note(_ context.Context, in protocol.Note) error {
	w.notes = append(w.notes, in)
	return nil
}

func (w *fakeWorld) Register(_ context.Context, in protocol.Rollback) error {
	w.rolls = append(w.rolls, in)
	return w.did("register", "%s %s %s", in.ID, in.Func, in.Args)
}

// open makes a session of a script, with testdata/shop.star beside it.
func open(t *testing.T, w *fakeWorld, source string, load protocol.Load) *Session {
	t.Helper()
	if w.files == nil {
		w.files = map[string]string{}
	}
	if w.main == "" {
		w.main = "//x.star"
	}
	shop, err := os.ReadFile("testdata/shop.star")
	if err != nil {
		t.Fatal(err)
	}
	w.files["//shop.star"], w.files[w.main] = string(shop), source
	if load.Mode == "" {
		load.Mode = protocol.CheckOnly
	}
	if load.Script == "" {
		load.Script = path.Base(w.main)
	}
	s := New(t.Context(), Config{Load: load}, w)
	assert, err := starlarktest.LoadAssertModule()
	if err != nil {
		t.Fatal(err)
	}
	s.predeclared["assert"] = assert["assert"]
	s.prepare = func(thread *starlark.Thread) { starlarktest.SetReporter(thread, t) }
	return s
}

// load loads a script that must be right.
func load(t *testing.T, w *fakeWorld, source string) (*Session, *spec.Experiment) {
	t.Helper()
	s := open(t, w, source, protocol.Load{})
	exp, errs := s.Load()
	for _, e := range errs {
		t.Error(e)
	}
	if len(errs) > 0 {
		t.FailNow()
	}
	return s, exp
}

// shopWith is a right experiment with a given method.
func shopWith(method string) string {
	return "load(\"//shop.star\", \"shop\")\navailability = shop()\n\n" + method
}

// Every builtin has a file with its uses and its refusals. Each is loaded,
// rehearsed and run.
func TestEveryBuiltinByItsFile(t *testing.T) {
	for _, row := range Table {
		t.Run(row.Name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join("testdata", row.Name+".star"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(source), "assert.fails(") {
				t.Error("no refusal is tested: want assert.fails")
			}
			w := &fakeWorld{main: "//" + row.Name + ".star"}
			s, exp := load(t, w, string(source))
			w.figures = map[string]protocol.Figure{}
			half := 0.5
			for i, o := range exp.SLOs {
				if i == 0 {
					w.figures[o.Name] = protocol.Figure{Value: &half, Count: 40}
				}
			}
			ended := s.Method()
			if ended.Error != nil {
				t.Error(ended.Error)
			}
			if ended.Expect != nil {
				t.Error(ended.Expect)
			}
			for _, r := range w.rolls {
				if ended := s.Roll(protocol.Roll{ID: r.ID, Module: r.Module, Func: r.Func, Args: r.Args}); ended.Error != nil {
					t.Error(ended.Error)
				}
			}
		})
	}
}

package builtins

import (
	"encoding/json"
	"strings"
	"testing"

	"chaosrunner/runner/protocol"
)

func TestInvariantRefusals(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"an objective's name": {"def f(): return 1\ninvariant('latency', f, equals = 0)", "x.star:5:10: invariant: name: got \"latency\", which is an objective's, at shop.star:"},
		"a lambda":            {"invariant('a', lambda: 3, equals = 0)", "x.star:4:10: invariant: fn: got lambda, want a def at the top level of a file"},
		"a closure":           {"def make():\n    def f(): return 3\n    return f\ninvariant('a', make(), equals = 0)", "x.star:7:10: invariant: fn: got f, want a def at the top level"},
		"no number":           {"def f(): return 'x'\ninvariant('a', f, equals = 0)", "x.star:4:1: invariant: f: got \"x\" from it, want a number, or None"},
		"a truth":             {"def f(): return True\ninvariant('a', f, equals = 0)", "got bool True from it, want a number"},
		"not a number":        {"def f(): return float('nan')\ninvariant('a', f, equals = 0)", "got float nan from it, want a number"},
		"its late typo":       {"def f():\n    sql('postgres://u@h/d', 'SELECT 1')\n    return undefined_name\ninvariant('a', f, equals = 0)", "undefined: undefined_name"},
		"its wrong argument":  {"def f(): return http('x').status\ninvariant('a', f, equals = 0)", "x.star:4:21: http: url: got \"x\", want a URL"},
		"before's typo":       {"def b(): return note(3)\ndef f(x): return 1\ninvariant('a', f, equals = 0, before = b)", "x.star:4:21: note: text: got int"},
		"before's value":      {"def b(): return b\ndef f(x): return 1\ninvariant('a', f, equals = 0, before = b)", "x.star:4:1: invariant: b: got function, want None, bools"},
		"one that acts":       {"def f():\n    kill('catalog')\n    return 1\ninvariant('a', f, equals = 0)", "x.star:5:9: kill: got a call in a function of an invariant, which may only probe"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, &fakeWorld{}, shopWith(c.script+"\ndef method():\n    kill('catalog', duration = '1s')\n"), protocol.Load{})
			_, errs := s.Load()
			var got strings.Builder
			for _, e := range errs {
				got.WriteString(e.Error() + "\n")
			}
			if !strings.Contains(got.String(), c.want) {
				t.Errorf("got %s\nwant %s", got.String(), c.want)
			}
		})
	}
}

// A worker of its own asks for the numbers: the script is loaded for that
// alone, and the functions are found by their names, in a library too.
func TestCheck(t *testing.T) {
	w := &fakeWorld{files: map[string]string{"//l.star": "def books():\n    r = http('http://localhost:8080/')\n    return {'n': r.json(like = {'count': 0})['count']}\n"}}
	w.replies = []protocol.HTTPReply{{Status: 200, Body: `{"count": 3, "more": []}`}}
	const script = `
load('//l.star', 'books')
def f(since):
    r = sql('postgres://u@postgres/d', 'SELECT 1')
    expect(r.value != 9, 'nine')
    return r.value - since['n'] if r.ok else None
invariant('a', f, equals = 0, before = books)
def method():
    kill('catalog', duration = '1s')
`
	s := open(t, w, shopWith(script), protocol.Load{Mode: protocol.RollOnly})
	exp, errs := s.Load()
	if len(errs) > 0 || len(exp.Invariants) != 1 || len(w.calls) > 0 {
		t.Fatalf("got %v, %+v, calls %v", errs, exp, w.calls)
	}
	inv := exp.Invariants[0]
	if inv.Before.Module != "//l.star" || inv.Func.Module != "//x.star" {
		t.Errorf("got %+v", inv)
	}
	before := s.Check(protocol.Check{Module: inv.Before.Module, Func: inv.Before.Name, Any: true})
	if before.Error != nil || string(before.Value) != `{"n":3}` {
		t.Fatalf("before: got %s, %v", before.Value, before.Error)
	}
	args, err := json.Marshal([]json.RawMessage{before.Value})
	if err != nil {
		t.Fatal(err)
	}
	check := protocol.Check{Module: inv.Func.Module, Func: inv.Func.Name, Args: args}
	cell := func(s string) protocol.SQLReply {
		return protocol.SQLReply{Columns: []string{"n"}, Rows: [][]json.RawMessage{{json.RawMessage(s)}}}
	}
	w.answers = []protocol.SQLReply{cell("7"), {Error: "away"}, cell("9"), cell("null")}
	if got := s.Check(check); string(got.Value) != "4" {
		t.Errorf("got %s, %v, want 4", got.Value, got.Error)
	}
	if got := s.Check(check); string(got.Value) != "null" || got.Error != nil {
		t.Errorf("away: got %s, %v, want null", got.Value, got.Error)
	}
	if got := s.Check(check); got.Expect == nil || got.Value != nil {
		t.Errorf("a false expect: got %s, %v", got.Value, got.Expect)
	}
	if got := s.Check(check); got.Error == nil {
		t.Errorf("None - int: got %s", got.Value)
	}
	check.Func = "nobody"
	if got := s.Check(check); got.Error == nil || !strings.Contains(got.Error.Message, "there is no function nobody") {
		t.Errorf("got %v", got.Error)
	}
}

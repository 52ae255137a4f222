package builtins

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// What a method does reaches the world once, in order; the rehearsal does not.
func TestMethodReachesTheWorld(t *testing.T) {
	w := &fakeWorld{}
	s, exp := load(t, w, shopWith(`
def tidy(x): note("tidy %s" % x) or http("http://localhost:8080/tidied")
def method():
    h = kill("catalog", stays_down = False, signal = "TERM", duration = "25s")
    observe("5s")
    http("http://localhost:8080/", body = {"a": 1}, timeout = "2s")
    rollback(tidy, "up")
    h.undo()
    h.undo()
    stop("payments", grace = "3s", duration = "1s")
    pause("chunk1", duration = "1s")
    note("done")
`))
	if len(w.calls) > 0 {
		t.Fatalf("the rehearsal reached the world: %q", w.calls)
	}
	if len(exp.Steps) != 7 { // what a rollback does is no step of the method
		t.Errorf("got steps %+v", exp.Steps)
	}
	if ended := s.Method(); ended != (protocol.Ended{}) {
		t.Fatalf("got %+v", ended)
	}
	want := []string{
		`fault kill catalog {"stays_down":false,"signal":"SIGTERM"} 25s`,
		"observe 5s",
		`http GET http://localhost:8080/ {"Content-Type":"application/json"} {"a":1} 2s`,
		`register r1 tidy ["up"]`, // and once:
		"release f1",
		`fault stop payments {"grace":3000000000} 1s`,
		"fault pause chunk1 {} 1s",
	}
	if got := strings.Join(w.calls, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
	if len(w.notes) != 1 || w.notes[0].Text != "done" || w.notes[0].Pos != "x.star:15:9" {
		t.Errorf("got notes %+v", w.notes)
	}
}

// A method's end is told in terms of the script.
func TestEndings(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		world  fakeWorld
		want   protocol.Ended
	}{
		"a false expect": {
			method: "def check(r): expect(r.status == 200, 'it\\n answers')\ndef method():\n    check(http('http://localhost'))\n    kill('catalog', duration = '1s')",
			world:  fakeWorld{replies: []protocol.HTTPReply{{Status: 500}}},
			want:   protocol.Ended{Expect: &protocol.ScriptError{Pos: "x.star:4:21", Message: "it answers", Stack: []spec.Pos{"x.star:6:10"}}},
		},
		"no answer": {
			method: "def method():\n    r = http('http://localhost')\n    expect(r.error == 'refused' and not r and not r.ok, 'x')\n    r.status < 500",
			world:  fakeWorld{replies: []protocol.HTTPReply{{Error: "refused"}}},
			want:   protocol.Ended{Error: &protocol.ScriptError{Pos: "x.star:7:14", Message: "NoneType < int not implemented", Hint: "None means no data or no answer: look whether it is None first"}},
		},
		"no data": {
			method: "def method():\n    w = observe('1s')[availability]\n    expect(w.count == 3, 'x')\n    w.value >= 0.9",
			world:  fakeWorld{figures: map[string]protocol.Figure{"availability": {Count: 3}}},
			want:   protocol.Ended{Error: &protocol.ScriptError{Pos: "x.star:7:13", Message: "NoneType >= float not implemented", Hint: "None means no data or no answer: look whether it is None first"}},
		},
		"no number": {
			method: "def method():\n    observe('1s')[availability].value >= 0.9",
			world:  fakeWorld{figures: map[string]protocol.Figure{"availability": {Value: new(math.NaN())}}},
			want:   protocol.Ended{Error: &protocol.ScriptError{Pos: "x.star:5:39", Message: "NoneType >= float not implemented", Hint: "None means no data or no answer: look whether it is None first"}},
		},
		"a refusal of the world": {
			method: "def method():\n    kill('catalog', duration = '1s')",
			world:  fakeWorld{fail: map[string]error{"fault": protocol.Errorf(protocol.CodeRefused, "kill: catalog is\x1b gone")}},
			want:   protocol.Ended{Error: &protocol.ScriptError{Pos: "x.star:5:9", Message: `kill: catalog is\x1b gone`}},
		},
		"another refusal": {
			method: "def method():\n    observe('1s')",
			world:  fakeWorld{fail: map[string]error{"observe": errors.New("the run is ending")}},
			want:   protocol.Ended{Error: &protocol.ScriptError{Pos: "x.star:5:12", Message: "observe: the run is ending"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := load(t, &c.world, shopWith(c.method))
			ended := s.Method()
			if got, want := text(ended.Error)+text(ended.Expect), text(c.want.Error)+text(c.want.Expect); got != want || (ended.Expect == nil) != (c.want.Expect == nil) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func text(e *protocol.ScriptError) string {
	if e == nil {
		return ""
	}
	return e.Error()
}

// The step budget holds for each part by itself: loading does not eat the
// method's, nor the rehearsal the run's.
func TestEachSceneHasItsBudget(t *testing.T) {
	w := &fakeWorld{}
	s := open(t, w, shopWith("def spin():\n    for i in range(2000): pass\nspin()\ndef method(): spin()\n"), protocol.Load{Steps: 15_000})
	if _, errs := s.Load(); len(errs) > 0 {
		t.Fatal(errs)
	}
	for range 3 {
		if ended := s.Method(); ended.Error != nil {
			t.Fatal(ended.Error)
		}
	}
}

func TestCancel(t *testing.T) {
	w := &fakeWorld{}
	s, _ := load(t, w, shopWith("def method():\n    observe('1s')\n    note('never')\n"))
	ended := make(chan protocol.Ended)
	s.world = stuckWorld{w, s}
	go func() { ended <- s.Method() }()
	got := <-ended
	if got.Error == nil || got.Error.Error() != "x.star:5:12: stopped: by the test" {
		t.Errorf("got %v", got.Error)
	}
	if len(w.notes) > 0 {
		t.Error("the method went on")
	}
	if got := s.Method(); got.Error == nil || !strings.Contains(got.Error.Message, "stopped: by the test") {
		t.Errorf("a later scene ran: %+v", got)
	}
}

// A Cancel that comes between two scenes holds for the later one, also where it
// only computes.
func TestCancelBetweenScenes(t *testing.T) {
	w := &fakeWorld{}
	s, _ := load(t, w, shopWith("def method():\n    note('never')\n"))
	s.Cancel("by the test")
	if got := s.Method(); got.Error == nil || !strings.Contains(got.Error.Message, "stopped: by the test") || len(w.notes) > 0 {
		t.Errorf("got %+v, %v", got, w.notes)
	}
}

// stuckWorld observes until it is cancelled.
type stuckWorld struct {
	*fakeWorld
	s *Session
}

func (w stuckWorld) Observe(ctx context.Context, _ protocol.Observe) (protocol.Figures, error) {
	go w.s.Cancel("by the test")
	<-ctx.Done()
	return protocol.Figures{}, context.Cause(ctx)
}

// A script that computes is stopped too.
func TestCancelOfALoop(t *testing.T) {
	w := &fakeWorld{}
	s := open(t, w, shopWith("def method(): pass\n")+"note('spinning')\nfor i in range(1000000):\n    for j in range(1000000): pass\n", protocol.Load{Steps: math.MaxUint64})
	s.world = spinWorld{w, s}
	_, errs := s.Load()
	if len(errs) != 1 || !strings.Contains(errs[0].Message, "stopped: by the test") {
		t.Errorf("got %v", errs)
	}
}

type spinWorld struct {
	*fakeWorld
	s *Session
}

func (w spinWorld) Note(context.Context, protocol.Note) error {
	go w.s.Cancel("by the test")
	return nil
}

// A panic in a builtin is an error that names it, at the line.
func TestPanicInABuiltin(t *testing.T) {
	s := open(t, &fakeWorld{}, "boom()\n", protocol.Load{})
	s.predeclared["boom"] = s.bind(&Builtin{Name: "boom", Signature: "boom()", Phase: Anywhere, call: func(*Session, *call) (starlark.Value, error) {
		var m map[string]int
		//lint:ignore SA5000 the panic is the point
		m["x"] = 1
		return nil, nil
	}})
	_, errs := s.Load()
	if len(errs) != 1 || errs[0].Error() != "x.star:1:5: boom: internal error: assignment to entry in nil map: a bug of the runner, not of the script" {
		t.Errorf("got %v", errs)
	}
}

// A panic elsewhere in the interpreter ends the scene, not the process.
func TestPanicInTheInterpreter(t *testing.T) {
	s := open(t, &fakeWorld{}, "len(boom)\n", protocol.Load{})
	s.predeclared["boom"] = panicking{}
	_, errs := s.Load()
	if len(errs) != 1 || errs[0].Message != "internal error of the interpreter: boo: a bug of the runner, not of the script" {
		t.Errorf("got %v", errs)
	}
}

type panicking struct{ starlark.Value }

func (panicking) Len() int                   { panic("boo") }
func (panicking) Freeze()                    {}
func (panicking) Type() string               { return "panicking" }
func (panicking) Iterate() starlark.Iterator { return nil }

// A flood of remarks is cut, and what would play with a terminal is escaped.
func TestRemarks(t *testing.T) {
	w := &fakeWorld{}
	s, _ := load(t, w, shopWith(`
def method():
    note("\033[31mred\033[0m\r\nverdict: held\u202e \u200b \x7f ünï 日本")
    print("a", 1, [2], sep = "\n")
    note("é" * 3000)
    for i in range(100000): print(i)
`))
	if ended := s.Method(); ended.Error != nil {
		t.Fatal(ended.Error)
	}
	for i, want := range []string{
		`\x1b[31mred\x1b[0m\r\nverdict: held\u202e \u200b \x7f ünï 日本`,
		`a\n1\n[2]`,
	} {
		if got := w.notes[i].Text; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if got := w.notes[2].Text; len(got) > 2100 || !strings.HasSuffix(got, "… (4000 bytes more)") {
		t.Errorf("got %d bytes, ending in %s", len(got), got[len(got)-30:])
	}
	if n := len(w.notes); n != maxNotes+1 || w.notes[n-1].Text != "more than 500 remarks: the rest is left out" {
		t.Errorf("got %d notes, the last %q", n, w.notes[n-1].Text)
	}
}

// pick is the same in the rehearsal and in the run, and for one seed.
func TestPick(t *testing.T) {
	script := shopWith(`
def method():
    a = pick("chunk*", n = 3)
    b = pick("chunk*", percent = "30%")
    kill(a + b if False else a, duration = "5s")
    note(repr((a, b)))
`)
	run := func(seed uint64, mode string) (steps []spec.Step, note string) {
		w := &fakeWorld{replica: 10}
		s := open(t, w, script, protocol.Load{Seed: seed, Mode: mode})
		exp, errs := s.Load()
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if ended := s.Method(); ended.Error != nil {
			t.Fatal(ended.Error)
		}
		return exp.Steps, w.notes[0].Text
	}
	steps, note := run(1, protocol.FullRun)
	if want := `(["chunk*#5", "chunk*#10", "chunk*#7"], ["chunk*#1", "chunk*#7", "chunk*#6"])`; note != want {
		t.Errorf("seed 1 got %s, want %s, as ever", note, want)
	}
	if got := strings.Join(steps[2].Fault.Targets, " "); got != "chunk*#5 chunk*#10 chunk*#7" {
		t.Errorf("the rehearsal picked %s", got)
	}
	if steps[0].Op != "pick" || steps[0].Detail != "chunk*#5, chunk*#10 and chunk*#7" {
		t.Errorf("got %+v", steps[0])
	}
	if _, again := run(1, protocol.PlanOnly); again != note {
		t.Errorf("a plan picked %s", again)
	}
	if _, other := run(2, protocol.FullRun); other == note {
		t.Error("another seed picked the same")
	}
	checked := &fakeWorld{replica: 10}
	exp, errs := open(t, checked, script, protocol.Load{Mode: protocol.CheckOnly}).Load()
	if len(errs) > 0 || len(checked.calls) > 0 || strings.Join(exp.Steps[2].Fault.Targets, " ") != "chunk* chunk*#2 chunk*#1" {
		t.Errorf("a check got %v, %+v and asked for %q", errs, exp, checked.calls)
	}
	w := &fakeWorld{replica: 10, fail: map[string]error{"targets": protocol.Errorf(protocol.CodeNoTarget, "chunk* means no container")}}
	_, errs = open(t, w, script, protocol.Load{Mode: protocol.PlanOnly}).Load()
	if len(errs) != 1 || errs[0].Error() != "x.star:6:13: pick: chunk* means no container" {
		t.Errorf("got %v", errs)
	}
	w = &fakeWorld{replica: 2}
	_, errs = open(t, w, script, protocol.Load{Mode: protocol.PlanOnly}).Load()
	if len(errs) != 1 || errs[0].Error() != "x.star:6:13: pick: n: got 3, want at most the 2 containers of chunk*" {
		t.Errorf("got %v", errs)
	}
}

// A rollback runs in a fresh worker that has nothing but its record.
func TestRollbackInAFreshWorker(t *testing.T) {
	w := &fakeWorld{main: "//experiments/x.star", files: map[string]string{
		"//lib.star":               "load('sub/part.star', 'greet')\ndef untie(h, name):\n    h.undo()\n    note(greet(name))\n",
		"//sub/part.star":          "GREETING = 'hello '\ndef greet(name): return GREETING + name\n",
		"//experiments/local.star": "def more(): note('more')\n",
	}}
	s := open(t, w, `load("//shop.star", "shop")
load("//lib.star", "untie")
load("local.star", "more")
shop()
word = param("word", "you", "whom")
def own(n): note("own %d %s" % (n, word))
def method():
    h = kill("catalog", duration = "5s")
    rollback(untie, h, "x")
    rollback(own, 1 << 70)
    rollback(more)
`, protocol.Load{Params: map[string]string{"word": "me"}, Seed: 7})
	exp, errs := s.Load()
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if got := exp.Steps[2]; got.Op != "rollback" || got.Detail != "own" || string(got.Args) != "[1180591620717411303424]" {
		t.Errorf("got %+v", got)
	}
	if ended := s.Method(); ended.Error != nil {
		t.Fatal(ended.Error)
	}
	if len(w.rolls) != 3 {
		t.Fatalf("got %d rollbacks", len(w.rolls))
	}
	first := w.rolls[0]
	if first.Module != "//lib.star" || first.Seed != 7 || first.Params["word"] != "me" || len(first.Sources) != 5 {
		t.Errorf("got %+v", first)
	}
	fresh := &fakeWorld{files: first.Sources, main: first.Module}
	f := New(t.Context(), Config{Load: protocol.Load{Script: first.Module, Mode: protocol.RollOnly, Params: first.Params, Seed: first.Seed}}, fresh)
	if _, errs := f.Load(); len(errs) > 0 {
		t.Fatal(errs)
	}
	for i := len(w.rolls) - 1; i >= 0; i-- { // the others' files are fetched by name
		r := w.rolls[i]
		if ended := f.Roll(protocol.Roll{ID: r.ID, Module: r.Module, Func: r.Func, Args: r.Args}); ended != (protocol.Ended{}) {
			t.Errorf("%s: got %+v", r.Func, ended.Error)
		}
	}
	var said []string
	for _, n := range fresh.notes {
		said = append(said, n.Text)
	}
	if got := strings.Join(said, ", "); got != "more, own 1180591620717411303424 me, hello x" {
		t.Errorf("got %s", got)
	}
	if got := strings.Join(fresh.calls, ", "); got != "release f1" {
		t.Errorf("got %s", got)
	}
	for _, in := range []protocol.Roll{
		{Module: "//lib.star", Func: "nothing", Args: []byte("[]")},
		{Module: "//nothing.star", Func: "x", Args: []byte("[]")},
		{Module: "//lib.star", Func: "untie", Args: []byte("[1")},
		{Module: "//lib.star", Func: "untie", Args: []byte("[] []")},
		{Module: "//lib.star", Func: "untie", Args: []byte("{}")},
		{Module: "//lib.star", Func: "untie", Args: []byte(strings.Repeat("[", 100000))},
		{Module: "//lib.star", Func: "untie", Args: []byte(`[{"$fault": 3}]`)},
		{Module: "//lib.star", Func: "untie"},
	} {
		ended := f.Roll(in)
		if ended.Error == nil {
			t.Errorf("%+v: no error", in)
		} else if len(in.Args) > 1000 && !strings.Contains(ended.Error.Message, "nested too deep") {
			t.Errorf("deep arguments: got %s", ended.Error.Message)
		}
	}
}

// A file that a link gives two names is shipped under both.
func TestRollbackShipsAliases(t *testing.T) {
	w := &fakeWorld{files: map[string]string{"//real.star": "def f(): note('f')"}}
	s := open(t, w, `load("//shop.star", "shop")
load("//link.star", "f")
shop()
def method(): rollback(f)
`, protocol.Load{})
	s.world = linkWorld{w}
	if _, errs := s.Load(); len(errs) > 0 {
		t.Fatal(errs)
	}
	if ended := s.Method(); ended.Error != nil {
		t.Fatal(ended.Error)
	}
	if got := w.rolls[0]; got.Module != "//real.star" || got.Sources["//link.star"] == "" {
		t.Errorf("got %+v", got)
	}
}

type linkWorld struct{ *fakeWorld }

func (w linkWorld) Source(ctx context.Context, in protocol.Source) (protocol.Sourced, error) {
	if in.Path == "//link.star" {
		in.Path = "//real.star"
	}
	return w.fakeWorld.Source(ctx, in)
}

// A rollback that cannot be written down is an error at its line.
func TestRollbackNotOnDisk(t *testing.T) {
	w := &fakeWorld{fail: map[string]error{"register": errors.New("no space left")}}
	s, _ := load(t, w, shopWith("def f(): pass\ndef method():\n    rollback(f)"))
	if ended := s.Method(); ended.Error == nil || ended.Error.Error() != "x.star:6:13: rollback: no space left" {
		t.Errorf("got %v", ended.Error)
	}
}

func TestMethodNeedsARehearsal(t *testing.T) {
	s := open(t, &fakeWorld{}, shopWith("def method():\n    kill('redis')"), protocol.Load{})
	if ended := s.Method(); ended.Error == nil {
		t.Error("a method ran before load")
	}
	_, _ = s.Load()
	if ended := s.Method(); ended.Error == nil || ended.Error.Message != "method() has not been rehearsed" {
		t.Errorf("a refused method ran: %+v", ended)
	}
}

package builtins

import (
	"strconv"
	"strings"
	"testing"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// Each of these scripts is refused, with an error that a person can act on.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		files  map[string]string
		want   []string
	}{
		"nothing at all": {"", nil, []string{
			"x.star: the experiment lacks a hypothesis, a blast radius, traffic or metrics, an objective, an abort condition and a method",
			`hint: hypothesis("…"); blast_radius(`,
		}},
		"no method": {shopWith(""), nil, []string{"x.star: the experiment lacks a method\n"}},
		"a loaded method": {
			shopWith("") + "\nload(\"//m.star\", \"method\")\n",
			map[string]string{"//m.star": "def method(): pass"},
			[]string{"lacks a method", "in the script itself"},
		},
		"method with parameters":  {shopWith("def method(x): pass"), nil, []string{"x.star:4:1: method: got a function with 1 parameters, want none"}},
		"method that is none":     {shopWith("method = 3"), nil, []string{"x.star: method: got int, want a function"}},
		"method that is built in": {shopWith("method = len"), nil, []string{"want a function: def method(): …"}},
		"method called": {shopWith("def method():\n    kill('catalog')\nmethod()"), nil, []string{
			"x.star:5:9: kill: method() was called by the script\n  called from x.star:6:7\n  hint: leave that to the runner",
		}},

		"a typo in a name":    {"kil('catalog')", nil, []string{"x.star:1:1: undefined: kil (did you mean kill?)"}},
		"swapped letters":     {"hypothesys('x')", nil, []string{"did you mean hypothesis?"}},
		"a service unquoted":  {"def method():\n    kill(catalog)", nil, []string{`x.star:2:10: undefined: catalog`, `hint: if it is a service, write it as a string: "catalog"`}},
		"all undefined names": {"x = foo\ny = bar\n", nil, []string{"x.star:1:5: undefined: foo", "x.star:2:5: undefined: bar"}},
		"sleep":               {"sleep(3)", nil, []string{`hint: observe("5s") lets time pass`}},
		"true":                {"x = true", nil, []string{"hint: write True"}},
		"while":               {"while True:\n    pass", nil, []string{"x.star:1:1: there is no while in this Starlark", "hint: write for i in range(10)"}},
		"import":              {"import os\n", nil, []string{"hint: there is no import: write load("}},
		"try":                 {"try:\n    pass\n", nil, []string{"try is Python, not Starlark"}},
		"an f-string":         {"x = f\"{y}\"\n", nil, []string{"x.star:1:6: ", "there are no f-strings"}},
		"a missing comma":     {"blast_radius(targets = [\"a\"] duration = \"60s\")\n", nil, []string{"x.star:1:30: ", "hint: is a comma, or a closing bracket, missing before it?"}},
		"all syntax errors": {"x = = 3\nhypothesis('a' 'b' 'c')\ndef f(:\n    pass\ny = 1\nz = 1 +\n", nil, []string{
			"x.star:1:5: ", "x.star:2:16: ", "x.star:3:8: ", "x.star:6:8: ",
		}},

		"recursion":                {shopWith("def f(): f()\ndef method(): f()"), nil, []string{"function f called recursively", "hint: there is no recursion in Starlark"}},
		"recursion by combinator":  {shopWith("def method():\n    y = lambda f: (lambda x: x(x))(lambda x: f(lambda v: x(x)(v)))\n    y(lambda f: lambda n: f(n))(3)"), nil, []string{"called recursively"}},
		"two defs":                 {"def f(): pass\ndef f(): pass\n", nil, []string{"x.star:2:5: def f: there is one already at x.star:1:5"}},
		"two defs in a function":   {"def f():\n    def g(): pass\n    def g(): pass\n", nil, []string{"x.star:3:9: def g: there is one already"}},
		"a builtin's name":         {"traffic = traffic('http://localhost', '40/s')", nil, []string{"x.star:1:1: traffic is the name of a builtin", "hint: choose another name, such as my_traffic"}},
		"a def named like one":     {"def kill(): pass", nil, []string{"kill is the name of a builtin"}},
		"a loop named like one":    {"for slo in []: pass", nil, []string{"slo is the name of a builtin"}},
		"a load named like one":    {"load('//shop.star', kill = 'shop')", nil, []string{"kill is the name of a builtin"}},
		"an unpacking like one":    {"a, (b, [note]) = 1, (2, [3])", nil, []string{"note is the name of a builtin"}},
		"a library that declares":  {"load('//l.star', 'f')", map[string]string{"//l.star": "hypothesis('x')\ndef f(): pass"}, []string{"l.star:1:11: hypothesis: got a declaration at the top level of l.star, want it in a function there: libraries offer functions\n  called from x.star:1:1"}},
		"a library's library":      {"load('//l.star', 'f')", map[string]string{"//l.star": "load('//m.star', 'g')\ndef f(): pass", "//m.star": "def g(): slo('x', 'y', min = 1)\ng()"}, []string{"m.star:1:13: slo: got a declaration at the top level of m.star", "called from m.star:2:2\n  called from l.star:1:1\n  called from x.star:1:1"}},
		"a library with errors":    {"load('//l.star', 'f')", map[string]string{"//l.star": "a\nb"}, []string{"l.star:1:1: undefined: a", "l.star:2:1: undefined: b", "called from x.star:1:1"}},
		"a library's syntax error": {"load('//l.star', 'f')", map[string]string{"//l.star": "def f()\n"}, []string{"l.star:1:8: ", "hint: is a colon missing?", "called from x.star:1:1"}},
		"a circle":                 {"load('//a.star', 'f')", map[string]string{"//a.star": "load('b.star', 'f')", "//b.star": "load('//a.star', 'f')"}, []string{"the files load each other in a circle: a.star → b.star → a.star"}},
		"itself":                   {"load('x.star', 'f')", nil, []string{"in a circle: x.star → x.star"}},
		"no such file":             {"load('//y.star', 'f')", nil, []string{"x.star:1:1: cannot load //y.star: there is no //y.star"}},
		"no such name":             {"load('//shop.star', 'shopp')", nil, []string{"load: name shopp not found in module //shop.star (did you mean shop?)"}},
		"out of the root":          {"load('../y.star', 'f')", nil, []string{"leads out of //"}},
		"an absolute path":         {"load('/etc/passwd', 'f')", nil, []string{"got the absolute path"}},
		"a load in a function":     {"def f():\n    load('//shop.star', 'shop')", nil, []string{"load statement within a function"}},

		"twice":           {shopWith("hypothesis('again')\ndef method(): pass"), nil, []string{"x.star:4:11: hypothesis: there is one already, at shop.star:14:15"}},
		"a late typo":     {shopWith("def method():\n    observe('1s')\n    note(1)\n"), nil, []string{"x.star:6:9: note: text: got int, want string"}},
		"a helper's typo": {shopWith("def f(x):\n    observe(x)\ndef method():\n    f('1')\n"), nil, []string{"x.star:5:12: observe: duration: got \"1\", want a duration with its unit", "\n  called from x.star:7:6\n"}},

		"no time":           {shopWith("def method():\n    kill('catalog')\n"), nil, []string{"x.star:5:9: kill: lasts no time", `hint: give it a duration, as duration = "30s", or observe("30s") after it`}},
		"no time after":     {shopWith("def method():\n    observe('5s')\n    h = pause('catalog')\n    h.undo()\n    observe('5s')"), nil, []string{"x.star:6:14: pause: lasts no time"}},
		"over the cap":      {shopWith("def method():\n    kill('catalog', duration = '40s')\n    observe('30s')\n    kill('payments', duration = '40s')"), nil, []string{"x.star:5:9: method: got faults for 1m10s from the first to the last, want less than the 1m0s of blast_radius", "hint: blast_radius stands at shop.star:15:17"}},
		"open over the cap": {shopWith("def method():\n    kill('catalog')\n    observe('61s')"), nil, []string{"got faults for 1m1s"}},
		"outside":           {shopWith("def method():\n    kill('redis', duration = '1s')"), nil, []string{"x.star:5:9: kill: target: got \"redis\", which is outside the blast radius"}},
		"a share of traffic": {"load('//shop.star', 'shop')\nshop(traffic = '50%')\ndef method():\n    kill('catalog', duration = '1s')", nil, []string{
			"x.star:4:9: kill: this fault touches all traffic of its target, and blast_radius allows 50% of it",
		}},

		"no metrics":           {shopWith("slo('x', ratio('a', 'b'), min = 0.9)\nabort_if('up', below = 1)\ndef method(): pass"), nil, []string{"x.star:4:4: slo: x: got ratio(a / b), want metrics() or prometheus() beside it", "x.star:5:9: abort_if: got up, want metrics()"}},
		"truth of an slo":      {shopWith("if availability: pass\ndef method(): pass"), nil, []string{"x.star:4:4: an objective is neither true nor false", "hint: observe(…) tells its figures, as w[availability].value"}},
		"bool of an slo":       {shopWith("x = bool(availability)\ndef method(): pass"), nil, []string{"x.star:4:9: an objective is neither true nor false"}},
		"truth of a figure":    {shopWith("def method():\n    if observe('1s')[availability]: pass"), nil, []string{"a figure is no truth"}},
		"truth of traffic":     {shopWith("not traffic('http://localhost', '1/s')\ndef method(): pass"), nil, []string{"traffic is neither true nor false"}},
		"a comparison":         {shopWith("abort_if(availability < 0.9)\ndef method(): pass"), nil, []string{"x.star:4:23: slo < float not implemented", "hint: an objective is no number: write abort_if(availability, below = 0.9)"}},
		"an equation":          {shopWith("abort_if(availability == 0.9)\ndef method(): pass"), nil, []string{"x.star:4:23: slo == float: never equal"}},
		"a figure compared":    {shopWith("def method():\n    observe('1s')[availability] > 0.9"), nil, []string{"hint: compare its .value"}},
		"None compared":        {shopWith("def method():\n    None > 0.9"), nil, []string{"hint: None means no data"}},
		"pause for a while":    {shopWith("def method():\n    pause('30s')"), nil, []string{"hint: to let time pass, write observe(\"30s\"); for how long a fault lasts, duration = \"30s\""}},
		"a frozen list":        {shopWith("l = []\ndef method():\n    l.append(1)"), nil, []string{"hint: what the top level made cannot change"}},
		"fail":                 {"fail('no\\x1b[31m\\nway')", nil, []string{`x.star:1:5: fail: no\x1b[31m\nway`}},
		"a long fail":          {"fail('x' * 100000)", nil, []string{"… (98"}},
		"a call of a string":   {"'x'()", nil, []string{"invalid call of non-function (string)"}},
		"too many steps":       {"for i in range(1000000):\n    for j in range(1000000): pass", nil, []string{"x.star:2:5: the script computes too long: more than 1000000 steps"}},
		"a library's steps":    {"load('//l.star', 'x')", map[string]string{"//l.star": "x = [j for i in range(10000) for j in range(10000) if False]"}, []string{"l.star:1:30: the script computes too long"}},
		"too many steps later": {shopWith("def method():\n    for i in range(1000000):\n        for j in range(1000000): pass"), nil, []string{"the script computes too long"}},
		"a rollback that acts": {shopWith("def f(): kill('catalog')\ndef method():\n    rollback(f)"), nil, []string{"x.star:4:14: kill: got a call in a rollback function"}},
		"a rollback's typo":    {shopWith("def f(): note(3)\ndef method():\n    rollback(f)"), nil, []string{"x.star:4:14: note: text: got int, want string"}},
		"a rollback's args":    {shopWith("def f(x): pass\ndef method():\n    rollback(f)"), nil, []string{"function f missing 1 argument (x)"}},
		"too many slos":        {shopWith("for i in range(200): slo('s%d' % i, 'up', min = 1)"), nil, []string{"slo: got more than 100 of them"}},
		"too many aborts":      {shopWith("for i in range(200): abort_if('up', below = 1)"), nil, []string{"abort_if: got more than 100 of them"}},
		"too many rollbacks":   {shopWith("def f(): pass\ndef method():\n    for i in range(100): rollback(f)"), nil, []string{"rollback: got more than 50 of them"}},
		"too many modules":     {manyLoads(300), manyFiles(300), []string{"got more than 200 files"}},
		"too deep modules":     {"load('//m0.star', 'x')", deepFiles(100), []string{"got files that load each other more than 50 deep"}},
		"too much source":      {manyLoads(20), bigFiles(20), []string{"got more than 8 MiB of source in all"}},
		"deep nesting":         {"x = " + strings.Repeat("(", 5000) + strings.Repeat(")", 5000), nil, []string{"excessive nesting"}},
		"too many errors":      {strings.Repeat("undefined_name\n", 100), nil, []string{"and 80 more errors"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &fakeWorld{files: c.files}
			s := open(t, w, c.script, protocol.Load{Steps: 1_000_000})
			_, errs := s.Load()
			var got strings.Builder
			for _, e := range errs {
				got.WriteString(e.Error() + "\n")
			}
			for _, want := range c.want {
				if !strings.Contains(got.String(), want) {
					t.Errorf("got\n%s\nwant %q", got.String(), want)
				}
			}
			if strings.Contains(got.String(), "goroutine") || strings.Contains(got.String(), ".go:") {
				t.Errorf("an error shows Go: %s", got.String())
			}
		})
	}
}

func manyLoads(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("load('//m" + strconv.Itoa(i) + ".star', x" + strconv.Itoa(i) + " = 'x')\n")
	}
	return b.String()
}

func manyFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files["//m"+strconv.Itoa(i)+".star"] = "x = 1"
	}
	return files
}

func bigFiles(n int) map[string]string {
	files := manyFiles(n)
	for id := range files {
		files[id] += strings.Repeat(" # filler\n", 100_000)
	}
	return files
}

func deepFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files["//m"+strconv.Itoa(i)+".star"] = "load('//m" + strconv.Itoa(i+1) + ".star', y = 'x')\nx = y"
	}
	return files
}

// The dialect: what Starlark leaves open.
func TestDialect(t *testing.T) {
	_, exp := load(t, &fakeWorld{}, `"""Experiment 7:
a docstring."""
load("//shop.star", "shop")
x = set([1, 2])
if len(x) == 2:
    y = 1
for i in range(3):
    y += i
for i in range(3):
    y += i
def double(n):
    return n * 2
if y:
    def choose(): return 1
else:
    def choose(): return 2
names = [n for n in ["catalog"]] if y != 0 else []
d = {k: v for k, v in [("a", 1)]}
f = lambda a, b = (1 == 1): a == b
def method():
    def inner(z = x == x): return z
    assert.true(inner() and not inner(False))
    assert.true(f(True) and not f(False))
    assert.true(d["a"] == 1 and [1, 2][0:1] == [1] and (1, 2) != (2, 1) and -1 == 0 - 1)
    assert.true([a for a in range(3) if a == 1] == [1])
    for target in names:
        kill(target, duration = "1s")
shop()
`)
	if exp.Name != "x" || exp.Doc != "Experiment 7:\na docstring." {
		t.Errorf("got name %q, doc %q", exp.Name, exp.Doc)
	}
	if len(exp.Steps) != 1 || exp.Steps[0].Op != "fault" {
		t.Errorf("got steps %+v", exp.Steps)
	}
}

func TestDeclarations(t *testing.T) {
	_, exp := load(t, &fakeWorld{}, `
load("//shop.star", "shop")
availability = shop(at_most = 2)
def method():
    h = kill("catalog", duration = "25s")
    observe("5s")
    http("http://localhost:8080/")
    h.undo()
`)
	if exp.SteadyState != defaultSteadyState {
		t.Errorf("got %+v", exp.SteadyState)
	}
	b := exp.BlastRadius
	if len(b.Targets) != 3 || b.Duration.String() != "1m0s" || b.AtMost != 2 || b.Traffic != 1 || b.Pos != "shop.star:15:17" {
		t.Errorf("got %+v", b)
	}
	tr := exp.Traffic[0]
	if tr.Arrivals != 40 || tr.Method != "POST" || tr.Body != `{"product":"coffee","quantity":1}` || tr.Headers["Content-Type"] != "application/json" || tr.Timeout.String() != "2s" {
		t.Errorf("got %+v", tr)
	}
	a, l := exp.SLOs[0], exp.SLOs[1]
	if a.SLI.Kind != spec.KindTrafficSuccess || a.SLI.Of != "traffic" || *a.Min != 0.99 || a.Max != nil || a.When != "always" || a.RecoversWithin.String() != "30s" {
		t.Errorf("got %+v", a)
	}
	if l.SLI.Kind != spec.KindTrafficLatency || l.SLI.Q != 0.99 || *l.Max != 0.5 {
		t.Errorf("got %+v", l)
	}
	x := exp.Aborts[0]
	if x.Name != "availability" || x.SLO != "availability" || *x.Below != 0.5 || x.Above != nil || x.Lasting.String() != "1s" {
		t.Errorf("got %+v", x)
	}
	var ops []string
	for _, s := range exp.Steps {
		ops = append(ops, s.Op+"@"+string(s.Pos))
	}
	if got := strings.Join(ops, " "); got != "fault@x.star:5:13 observe@x.star:6:12 http@x.star:7:9 undo@x.star:8:11" {
		t.Errorf("got %s", got)
	}
	f := exp.Steps[0].Fault
	if f.Kind != "kill" || string(f.Params) != `{"stays_down":true,"signal":"SIGKILL"}` || f.Duration.String() != "25s" || f.Targets[0] != "catalog" || f.Pos != "x.star:5:13" {
		t.Errorf("got %+v", f)
	}
}

// A threshold of an abort condition is the objective's own where none is given.
func TestAbortByObjective(t *testing.T) {
	_, exp := load(t, &fakeWorld{}, shopWith("abort_if(availability)\ndef method(): pass"))
	if a := exp.Aborts[1]; a.Below == nil || *a.Below != 0.99 || a.Above != nil {
		t.Errorf("got %+v", a)
	}
}

// A query with an objective in per cent must yield shares, for the abort condition
// too; one with a number may yield anything.
func TestShareOfQuery(t *testing.T) {
	_, exp := load(t, &fakeWorld{}, shopWith(`
metrics(scrape = ["http://localhost:1/metrics"])
a = slo("a", "x", min = "99%")
abort_if(a, below = 0.5)
b = slo("b", "x", min = 0.99)
abort_if(b)
abort_if("y", below = "50%")
def method(): pass`))
	for i, want := range []bool{true, false} {
		if got := exp.SLOs[len(exp.SLOs)-2+i].SLI.Share; got != want {
			t.Errorf("objective %d: got %v", i, got)
		}
	}
	for i, want := range []bool{true, false, true} {
		if got := exp.Aborts[len(exp.Aborts)-3+i].SLI.Share; got != want {
			t.Errorf("condition %d: got %v", i, got)
		}
	}
}

func TestParams(t *testing.T) {
	script := `
load("//shop.star", "shop")
shop()
rate = param("rate", "40/s", "arrivals")
n = param("n", 3, "how many")
share = param("share", 0.5, "of what")
strict = param("strict", True, "whether")
note(repr((rate, n, share, strict)))
def method(): pass
`
	for _, c := range []struct {
		set  map[string]string
		want string
	}{
		{nil, `("40/s", 3, 0.5, True)`},
		{map[string]string{"rate": "1/s", "n": "-7", "share": "2", "strict": "false"}, `("1/s", -7, 2.0, False)`},
		{map[string]string{"n": "1e3"}, "x.star:5:10: param: --set n: got \"1e3\", want an int such as 3"},
		{map[string]string{"share": "nan"}, "x.star:6:14: param: --set share: got \"nan\", want a number such as 0.5"},
		{map[string]string{"strict": "1"}, "x.star:7:15: param: --set strict: got \"1\", want true or false"},
		{map[string]string{"rat": "1/s", "zzz": ""}, "x.star: --set: got \"rat\", which is no param of the script (did you mean rate?)\nx.star: --set: got \"zzz\", which is no param of the script (there is rate, n, share, strict)"},
	} {
		w := &fakeWorld{}
		exp, errs := open(t, w, script, protocol.Load{Params: c.set}).Load()
		var got []string
		if len(errs) == 0 {
			got = append(got, w.notes[0].Text)
			if len(exp.Params) != 4 || exp.Params[0].Default != `"40/s"` {
				t.Errorf("got %+v", exp.Params)
			}
		}
		for _, e := range errs {
			got = append(got, e.Error())
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("--set %v: got\n%s\nwant\n%s", c.set, s, c.want)
		}
	}
	if got := refuseWith(t, shopWith("def method(): pass"), map[string]string{"x": "1"}); !strings.Contains(got, "the script has no param()") {
		t.Error(got)
	}
}

func refuseWith(t *testing.T, script string, set map[string]string) string {
	_, errs := open(t, &fakeWorld{}, script, protocol.Load{Params: set}).Load()
	if len(errs) == 0 {
		t.Fatal("loaded")
	}
	return errs[0].Error()
}

// What is wrong with PromQL is said where the SLI is used.
func TestPromQLIsChecked(t *testing.T) {
	s := open(t, &fakeWorld{}, shopWith("slo('x', 'up >', min = 1)"), protocol.Load{})
	s.cfg.CheckSLI = func(sli spec.SLI) error { return errBigJSON }
	_, errs := s.Load()
	if len(errs) != 1 || errs[0].Error() != "x.star:4:4: slo: sli: got more than 256 KiB of JSON" {
		t.Errorf("got %v", errs)
	}
}

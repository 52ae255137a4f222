package builtins

import (
	"fmt"
	"strings"
	"testing"
)

// The last fault of each method is done, or not, as the condition in the line
// says that is marked with #?; without a mark it is done whatever a probe sees.
func TestBranches(t *testing.T) {
	for name, method := range map[string]string{
		"straight":            "    r = http(u)\n    K",
		"in an if":            "    if http(u).status == 200: #?\n        K",
		"the condition's own": "    if K or http(u): pass",
		"in an else":          "    r = http(u)\n    if r.status != 200: #?\n        pass\n    else:\n        K",
		"in an elif":          "    r = http(u)\n    if False:\n        pass\n    elif r: #?\n        K",
		"after an if":         "    if http(u): note('x')\n    K",
		"after a return":      "    if not http(u): return #?\n    K",
		"after a fail":        "    r = http(u)\n    if not r: fail('x') #?\n    K",
		"through names":       "    r = http(u)\n    s = r.status\n    ok = s == 200\n    if ok: #?\n        K",
		"through a list":      "    l = []\n    l.append(http(u))\n    if l[0]: #?\n        K",
		"through a dict":      "    d = {}\n    d['x'] = http(u).status\n    if d['x']: #?\n        K",
		"through unpacking":   "    a, (b, c) = 1, (2, http(u))\n    if c: #?\n        K",
		"not by another name": "    r = http(u)\n    if 1 == 1:\n        K",
		"through a branch":    "    ok = False\n    if http(u): ok = True\n    if ok: #?\n        K",
		"figures":             "    w = observe('1s')\n    if w[a].value > 0.5: #?\n        K",
		"through a function":  "    if good(): #?\n        K",
		"through a parameter": "    kill_if(http(u))",
		"through a library":   "    if lib_good(): #?\n        K",
		"by a library":        "    lib_kill_if(http(u))",
		"not in a function":   "    note(str(good()))\n    K",
		"in a loop":           "    for h in http(u).headers: pass\n    K",
		"by a loop":           "    for h in [http(u)] if http(u) else []: #?\n        K",
		"by a break":          "    for i in range(3): \n        if i == 2: K\n        if not http(u): break #?",
		"after a break":       "    for i in range(3):\n        if http(u): break\n    K",
		"an expression":       "    x = http(u)\n    K if x else None #?",
		"and":                 "    http(u) and K #?",
		"or":                  "    not http(u) or K #?",
		"its first operand":   "    K and http(u)",
		"a comprehension":     "    [K for i in range(1) if http(u)] #?",
		"over what was seen":  "    [K for i in [http(u)]] #?",
		"a lambda":            "    f = lambda: http(u)\n    if f(): #?\n        K",
		"a nested function":   "    r = http(u)\n    def inner():\n        if r: #?\n            K\n    inner()",
		"a long chain":        chain(30) + "    if x29: #?\n        K",
		"a short chain":       chain(5) + "    if 1 == 1:\n        K",
		"expect":              "    expect(http(u).ok, 'it answers')\n    K",
		"a parameter":         "    if n > 0:\n        K",
	} {
		t.Run(name, func(t *testing.T) {
			script := `load("//shop.star", "shop")
load("//branch.star", "lib_good", "lib_kill_if")
a = shop()
u = "http://localhost:8080/"
n = param("n", 1, "how many")
def good(): return http(u).status == 200
def kill_if(yes):
    if yes: kill("catalog", duration = "1s")
def method():
` + method + "\n"
			script = strings.ReplaceAll(script, "K", `kill("catalog", duration = "1s")`)
			want := ""
			for i, line := range strings.Split(script, "\n") {
				if strings.Contains(line, "#?") {
					want = fmt.Sprintf("x.star:%d:", i+1)
				}
			}
			switch name {
			case "through a parameter":
				want = "x.star:8:"
			case "by a library":
				want = "branch.star:4:"
			}
			_, exp := load(t, &fakeWorld{files: map[string]string{"//branch.star": `def lib_good(): return http("http://localhost").ok
def lib_kill_if(x):
    y = x
    if y: kill("catalog", duration = "1s")
`}}, script)
			last := exp.Steps[len(exp.Steps)-1]
			for _, s := range exp.Steps {
				if s.Op == "fault" {
					last = s
				}
			}
			if got := string(last.BranchAt); !strings.HasPrefix(got, want) || (got == "") != (want == "") || last.Branches != (want != "") {
				t.Errorf("the fault at %s hangs on %q, want %q", last.Pos, got, want)
			}
		})
	}
}

func chain(n int) string {
	var b strings.Builder
	for i := n - 1; i > 0; i-- { // against the direction of reading: the flow takes a round for each
		fmt.Fprintf(&b, "    if False: x%d = x%d\n", i, i-1)
	}
	return "    x0 = http(u)\n    x" + fmt.Sprint(n-1) + " = 1\n" + b.String()
}

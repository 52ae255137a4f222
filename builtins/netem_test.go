package builtins

import (
	"strings"
	"testing"

	"chaosrunner/runner/protocol"
)

// A netem reaches the world with all that was asked for, and an update with
// what was not changed too.
func TestNetemReachesTheWorld(t *testing.T) {
	w := &fakeWorld{}
	s, exp := load(t, w, shopWith(`
def method():
    h = netem("payments", peers = ["api", "10.0.0.0/8"], delay = "400ms", jitter = "50ms", distribution = "normal", port = 8080, duration = "45s")
    h.update(delay = "800ms", loss = "1%")
    h.update(loss = "0%")
    partition("catalog", "payments", duration = "5s")
`))
	if ended := s.Method(); ended != (protocol.Ended{}) {
		t.Fatalf("got %+v", ended)
	}
	rest := `"distribution":"normal","direction":"out","peers":["api","10.0.0.0/8"],"port":8080,"engine":"auto"}`
	want := []string{
		`fault netem payments {"delay":400000000,"jitter":50000000,` + rest + ` 45s`,
		`change f1 {"delay":800000000,"jitter":50000000,` + strings.Replace(rest, `"direction"`, `"loss":0.01,"direction"`, 1),
		`change f1 {"delay":800000000,"jitter":50000000,` + rest,
		`fault partition catalog {"peers":["payments"]} 5s`,
	}
	if got := strings.Join(w.calls, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if len(exp.Steps) != 4 || exp.Steps[1].Update == nil || !strings.Contains(string(exp.Steps[1].Update.Params), "800000000") {
		t.Errorf("got steps %+v, want the update among them for the plan", exp.Steps)
	}
}

// Two netems of one target that mean some of the same packets are refused in
// the rehearsal, at the line, naming the first.
func TestNetemsThatMeet(t *testing.T) {
	for name, c := range map[string]struct{ first, second, want string }{
		"all and some":        {``, `peers = "redis"`, "netem of catalog at x.star:6:10"},
		"some and all":        {`peers = "redis"`, `direction = "both"`, "netem of catalog at x.star:6:10"},
		"one peer in common":  {`peers = ["redis", "api"]`, `peers = ["api", "postgres"]`, "netem of catalog at x.star:6:10"},
		"the same":            {`peers = ["redis", "api"]`, `peers = ["api", "redis"]`, ""},
		"other peers":         {`peers = "redis"`, `peers = "api"`, ""},
		"other directions":    {`direction = "in"`, ``, ""},
		"other ports":         {`port = 80`, `port = 81`, ""},
		"a part of the flows": {`traffic = "50%"`, ``, "netem of catalog at x.star:6:10"},
	} {
		second := `    netem("catalog", loss = "1%", duration = "5s", ` + c.second + ")\n"
		found := failures(t, shopWith(`
def method():
    netem("catalog", delay = "5ms", duration = "5s", `+c.first+`)
`+second))
		switch {
		case c.want == "" && found != "":
			t.Errorf("%s: got %s", name, found)
		case c.want != "" && (!strings.Contains(found, c.want) || !strings.Contains(found, "x.star:7:10: netem: its packets are in part")):
			t.Errorf("%s: got %q, want %q", name, found, c.want)
		}
		after := failures(t, shopWith(`
def method():
    h = netem("catalog", delay = "5ms", duration = "5s", `+c.first+`)
    observe("1s")
    h.undo()
`+second))
		if after != "" {
			t.Errorf("%s, one after the other: got %s", name, after)
		}
	}
}

// failures are what loading and rehearsing a script finds.
func failures(t *testing.T, source string) string {
	t.Helper()
	_, found := open(t, &fakeWorld{}, source, protocol.Load{}).Load()
	var all []string
	for _, e := range found {
		all = append(all, e.Error())
	}
	return strings.Join(all, "\n")
}

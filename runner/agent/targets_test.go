package agent

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

func compose(t *testing.T, project, service string, index int, o enginetest.Options) *enginetest.Container {
	t.Helper()
	o.Labels = map[string]string{labelProject: project, labelService: service, labelIndex: fmt.Sprint(index), "tier": service}
	return enginetest.Run(t, o)
}

func TestTargets(t *testing.T) {
	t.Parallel()
	one, two := fmt.Sprintf("one%d", os.Getpid()), fmt.Sprintf("two%d", os.Getpid())
	pay1, pay2 := compose(t, one, "paychunk", 1, enginetest.Options{}), compose(t, one, "paychunk", 2, enginetest.Options{NoStart: true})
	cat := compose(t, one, "catchunk", 1, enginetest.Options{Closed: true, NoStart: true})
	other := compose(t, two, "paychunk", 1, enginetest.Options{NoStart: true})
	job := enginetest.Run(t, enginetest.Options{NoStart: true, Labels: map[string]string{labelProject: one, labelService: "paychunk", labelOneOff: "True"}})
	_ = job

	h := hello(t.TempDir())
	h.Mode, h.Project, h.Allow = protocol.ModeLook, one, []string{"catchunk"}
	c := start(t, h)
	resolve := func(c *child, exprs ...string) ([]string, error) {
		var out protocol.Resolved
		err := c.call(protocol.CallResolve, protocol.Resolve{Targets: exprs}, &out)
		var names []string
		for _, m := range out.Matches {
			for _, x := range m.Targets {
				names = append(names, x.Name)
			}
		}
		return names, err
	}
	for expr, want := range map[string][]string{
		"paychunk":            {pay1.Name, pay2.Name},
		"paychunk#2":          {pay2.Name},
		"*chunk":              {cat.Name, pay1.Name, pay2.Name},
		"?aychunk":            {pay1.Name, pay2.Name},
		"label:tier=catchunk": {cat.Name},
		"label:tier":          {cat.Name, pay1.Name, pay2.Name},
		other.Name:            {other.Name}, // a full name is no accident
	} {
		if got, err := resolve(c, expr); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", expr, got, err, want)
		}
	}
	if got, err := resolve(c, "catchunk", "paychunk#1"); err != nil || !slices.Equal(got, []string{cat.Name, pay1.Name}) {
		t.Errorf("got %v, %v", got, err)
	}
	for expr, want := range map[string]struct{ code, text string }{
		"paychunx":    {protocol.CodeNoTarget, "there is paychunk"},
		"paychunk#3":  {protocol.CodeNoTarget, "means nothing in project " + one},
		"paychunk#0":  {protocol.CodeBad, "counted from 1"},
		"paychunk#x":  {protocol.CodeBad, "service#number"},
		"[":           {protocol.CodeBad, "glob"},
		"label:=x":    {protocol.CodeBad, "label:key=value"},
		"label:tier=": {protocol.CodeNoTarget, ""},
		"":            {protocol.CodeBad, "empty target"},
	} {
		_, err := resolve(c, expr)
		wantCode(t, err, want.code, want.text)
	}
	// What --allow names has opted in, and nothing else.
	var out protocol.Resolved
	if err := c.call(protocol.CallResolve, protocol.Resolve{Targets: []string{"catchunk", "paychunk#1"}}, &out); err != nil {
		t.Fatal(err)
	}
	if x := out.Matches[0].Targets[0]; !x.Allowed || x.Index != 1 || x.Service != "catchunk" || x.Project != one || x.PID != 0 {
		t.Errorf("got %+v", x)
	}
	if x := out.Matches[1].Targets[0]; !x.Allowed || x.PID == 0 || x.StartedAt == "" {
		t.Errorf("got %+v", x)
	}

	h.Project = ""
	anywhere := start(t, h)
	_, err := resolve(anywhere, "paychunk")
	wantCode(t, err, protocol.CodeRefused, "ambiguous", one+", "+two, "--project")
	_, err = resolve(anywhere, "label:tier=paychunk")
	wantCode(t, err, protocol.CodeRefused, "ambiguous")
	if got, err := resolve(anywhere, "catchunk"); err != nil || !slices.Equal(got, []string{cat.Name}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// The agent asks the engine who has opted in, not the supervisor.
func TestOptIn(t *testing.T) {
	t.Parallel()
	project := fmt.Sprintf("opt%d", os.Getpid())
	k := compose(t, project, "payments", 1, enginetest.Options{Closed: true})
	h := hello(t.TempDir())
	h.Project = project
	c := start(t, h)
	target := k.Target() // it claims to be allowed
	wantCode(t, c.call(protocol.CallApply, order("f1", "pause", `{}`, target), nil), protocol.CodeRefused, "--allow payments", "chaos.allow=true")
	wantCode(t, c.call(protocol.CallDescribe, order("f1", "pause", `{}`, target), nil), protocol.CodeRefused, "--allow payments")
	cut := target
	cut.ID = cut.ID[:12]
	wantCode(t, c.call(protocol.CallApply, order("f2", "pause", `{}`, cut), nil), protocol.CodeBad, "64 digits")
	if paused(k.Inspect()) {
		t.Fatal("harmed without its leave")
	}
	if err := c.call(protocol.CallClose, nil, nil); err != nil {
		t.Fatal(err)
	}
	h.Run, h.Allow = "allowed", []string{"payments"}
	c = start(t, h)
	c.apply(order("f1", "pause", `{}`, target))
	_ = c.stdin.Close()
	k.WaitFor("unpaused", enginetest.Up)
}

// The target of an apply is the generation that was resolved, and no other.
func TestApplyToAnotherGeneration(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(t.TempDir()))
	old := k.Target()
	k.Kill()
	k.Start()
	for i, kind := range []string{"pause", "stop", "restart"} {
		wantCode(t, c.call(protocol.CallApply, order(fmt.Sprint("f", i), kind, `{}`, old), nil), protocol.CodeRefused, "resolve the target again")
	}
	now := k.Target()
	k.Remove()
	wantCode(t, c.call(protocol.CallApply, order("g1", "pause", `{}`, now), nil), protocol.CodeRefused, "gone")
	if _, err := enginetest.Client(t).ContainerInspect(context.Background(), k.ID); err == nil {
		t.Error("it is back")
	}
}

func TestNearest(t *testing.T) {
	names := []string{"api", "catalog", "payments", "postgres", "redis"}
	for text, want := range map[string]string{"catalg": "catalog", "pay": "payments", "redsi": "redis", "catalog-1": "catalog", "pg": "api"} {
		if got := nearest(text, names, 1); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %v, want %s", text, got, want)
		}
	}
}

package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

func under(state, text string) protocol.Hello {
	h := hello(state)
	h.Policy = &policy.File{Path: "p.yaml", Text: text}
	return h
}

// What the policy does not allow is refused by the agent, whoever asks for it;
// nothing was touched, and nothing stands in the ledger.
func TestPolicy(t *testing.T) {
	t.Parallel()
	db := compose(t, fmt.Sprintf("shop%d", os.Getpid()), "postgres", 1, enginetest.Options{})
	began := db.Inspect().State.StartedAt
	soon, later := time.Now().UTC().Add(3*time.Hour), time.Now().UTC().Add(4*time.Hour)
	for text, no := range map[string][]string{
		"kinds: [kill, stop]":      {"p.yaml:1: kinds: got pause"},
		"\nlongest: 30s":           {"p.yaml:2: longest", "58s", "at most 30s"},
		"at_most: 0":               {"p.yaml:1: at_most: got 1"},
		"never: postgres":          {"p.yaml:1: never postgres", "container " + db.Name},
		"never: [a, 'label:tier']": {"never label:tier"},
		"never:\n- " + db.Name:     {"p.yaml:2: never"},
		"never: post*":             {"never post*"},
		fmt.Sprintf("hours: {zone: UTC, from: %q, until: %q}", soon.Format("15:04"), later.Format("15:04")): {"p.yaml:1: hours: it is"},
	} {
		t.Run(text, func(t *testing.T) {
			state := t.TempDir()
			h := under(state, text)
			h.Allow, h.Project = []string{"postgres"}, "another" // neither widens it
			c := start(t, h)
			wantCode(t, c.tries("f1", "pause", db.Target()), protocol.CodeRefused, append(no, "pause: policy ")...)
			err := c.call(protocol.CallDescribe, order("plan", "pause", `{}`, db.Target()), nil)
			wantCode(t, err, protocol.CodeRefused, no...)
			if s, err := Status(state); err != nil || len(s) != 1 || len(s[0].In) != 0 {
				t.Errorf("got %+v, %v", s, err)
			}
			if seen := db.Inspect(); seen.State.StartedAt != began || paused(seen) {
				t.Error("it was touched")
			}
		})
	}
	c := start(t, under(t.TempDir(), "kinds: [pause]\nlongest: 58s\nat_most: 1\nnever: [redis]\nhours: {zone: UTC}"))
	c.apply(order("f1", "pause", `{}`, db.Target()))
}

// A plan is for another hour, and for all else under the same policy.
func TestPolicyOfAPlan(t *testing.T) {
	t.Parallel()
	web := enginetest.Run(t, enginetest.Options{})
	soon, later := time.Now().UTC().Add(3*time.Hour), time.Now().UTC().Add(4*time.Hour)
	h := under("", fmt.Sprintf("kinds: [pause]\nhours: {zone: UTC, from: %q, until: %q}", soon.Format("15:04"), later.Format("15:04")))
	h.Mode = protocol.ModeLook
	c := start(t, h)
	if err := c.call(protocol.CallDescribe, order("plan", "pause", `{}`, web.Target()), nil); err != nil {
		t.Error(err)
	}
	err := c.call(protocol.CallDescribe, order("plan", "kill", `{}`, web.Target()), nil)
	wantCode(t, err, protocol.CodeRefused, "p.yaml:1: kinds: got kill")
}

// Containers harmed at once are counted over all runs on the engine.
func TestPolicyCounts(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	web, api, db := enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{})
	two := func(run string) protocol.Hello {
		h := under(state, "at_most: 2")
		h.Run, h.Shared = run, true
		return h
	}
	one, other := start(t, two("one")), start(t, two("other"))
	one.apply(order("f1", "pause", `{}`, web.Target()))
	one.apply(order("f2", "touch", `{"path":"`+filepath.Join(t.TempDir(), "harm")+`"}`, web.Target())) // the same one
	other.apply(order("f1", "pause", `{}`, api.Target()))
	for _, c := range []*child{one, other} {
		wantCode(t, c.tries("f9", "pause", db.Target()), protocol.CodeRefused, "at_most: got 3 containers harmed at once, want at most 2")
	}
	if err := other.call(protocol.CallUndo, protocol.Undo{IDs: []string{"f1"}}, nil); err != nil {
		t.Fatal(err)
	}
	one.apply(order("f3", "pause", `{}`, db.Target()))

	// Both come at the same moment, and neither has seen the other: it is found
	// once both intents are on disk.
	if err := one.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, nil); err != nil {
		t.Fatal(err)
	}
	late := under(state, "at_most: 1")
	late.Run, late.Shared = "late", true
	meeting, err := net.Listen("unix", filepath.Join(t.TempDir(), "meet"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = meeting.Close() })
	harm := filepath.Join(t.TempDir(), "harm")
	third := start(t, late, "RUNNER_FAILPOINT=after-intent:meet:"+meeting.Addr().String())
	applied := make(chan error, 1)
	go func() {
		applied <- third.call(protocol.CallApply, order("f1", "touch", `{"path":"`+harm+`"}`, web.Target()), nil)
	}()
	met, err := meeting.Accept()
	if err != nil {
		t.Fatal(err)
	}
	other.apply(order("f2", "pause", `{}`, api.Target())) // two are allowed to it
	_ = met.Close()                                       // and on it goes
	wantCode(t, <-applied, protocol.CodeRefused, "at_most: got 2 containers harmed at once, want at most 1")
	if exists(harm) {
		t.Error("it was applied")
	}
}

// A policy that cannot be read ends a run before it begins, and no undo.
func TestUnreadablePolicy(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	web := enginetest.Run(t, enginetest.Options{})
	for _, f := range []*policy.File{{Path: "p.yaml", Text: "longuest: 3s"}, {Path: "p.yaml", Unreadable: "policy: open p.yaml: it burns"}} {
		h := hello(state)
		h.Policy = f
		wantCode(t, spawn(t).listen().greet(h), protocol.CodeRefused, "p.yaml")
		h.Mode = protocol.ModeLook
		wantCode(t, spawn(t).listen().greet(h), protocol.CodeRefused, "p.yaml")
	}
	if left := ledgers(t, state); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	c := start(t, hello(state))
	c.apply(order("f1", "pause", `{}`, web.Target()))
	c.kill()
	h := hello(state)
	h.Run, h.Mode, h.Policy = "", protocol.ModeRecover, &policy.File{Unreadable: "it burns"}
	if told := start(t, h).welcome.Recovered; len(told) != 1 || paused(web.Inspect()) {
		t.Errorf("got %+v, want the pause taken back", told)
	}
}

// What is done for a dead run in recover is bound by the policy that it was
// begun under and by that of now; in doubt nothing is allowed.
func TestRulesOfADeadRun(t *testing.T) {
	dir := t.TempDir()
	begin := func(run string, p *policy.File) *dead {
		book, err := ledger.Create(dir, ledger.Header{Run: run, Began: time.Now(), Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		path := book.Path()
		if err := errors.Join(book.Close()); err != nil {
			t.Fatal(err)
		}
		book, contents, err := ledger.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = book.Close() })
		return &dead{book: book, contents: contents}
	}
	lost := begin("lost", nil)
	lost.contents.Header = ledger.Header{Run: "lost"}
	a := newAgent()
	a.left = []*dead{
		begin("free", nil), begin("strict", &policy.File{Path: "p.yaml", Text: "exec: false"}),
		begin("torn", &policy.File{Path: "p.yaml", Text: "exec"}), lost,
	}
	for now, want := range map[string]map[string]string{
		"":            {"free": "", "strict": "p.yaml:1: exec: false", "torn": "cannot be read", "lost": "cannot be read"},
		"exec: true":  {"free": "", "strict": "p.yaml:1: exec: false", "unknown": ""},
		"exec: false": {"free": "now.yaml:1", "strict": "now.yaml:1", "unknown": "now.yaml:1"},
		"exe: false":  {"free": "cannot be read", "unknown": "cannot be read"},
	} {
		h := protocol.Hello{Mode: protocol.ModeRecover}
		if now != "" {
			h.Policy = &policy.File{Path: "now.yaml", Text: now}
		}
		if err := a.bind(h); err != nil {
			t.Fatal(err)
		}
		for run, no := range want {
			if err := a.rules(run).Exec(); (err == nil) != (no == "") || err != nil && !strings.Contains(err.Error(), no) {
				t.Errorf("now %q, run %s: got %v, want %q", now, run, err, no)
			}
		}
	}
}

// What is out of bounds is not harmed through a neighbour either.
func TestPolicyOfNeighbours(t *testing.T) {
	t.Parallel()
	db := enginetest.Run(t, enginetest.Options{Network: "bridge"})
	proxy := enginetest.Run(t, enginetest.Options{Network: "container:" + db.ID, Env: []string{"LISTEN=:8081"}})
	c := start(t, under(t.TempDir(), "never: "+db.Name))
	err := c.call(protocol.CallApply, order("f1", "netem", `{"delay":1000000}`, proxy.Target()), nil)
	wantCode(t, err, protocol.CodeRefused, "it would harm container "+db.Name+" too", "p.yaml:1: never")
	c.apply(order("f2", "pause", `{}`, proxy.Target()))
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/journal"
)

// has says whether a file is in the victim, seen from outside.
func (l *lab) has(path string) bool {
	_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(l.victim.Target().PID), "root", path))
	return err == nil
}

func (l *lab) execScript(more ...string) string {
	return l.script(l.web, append([]string{
		`said = exec("` + l.victim.Name + `", ["/app", "touch", "/mark"], undo = ["/app", "remove", "/mark"])`,
		`note("code %d" % said.code)`,
	}, more...)...)
}

func TestExec(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to look into a container from outside takes root")
	}
	t.Run("end of method", func(t *testing.T) {
		l := newLab(t)
		p := l.start(l.execScript(`observe("2s")`, `bad = exec("`+l.victim.Name+`", ["/app", "frobnicate", "x"], undo = ["/app", "remove", "/x"])`, `note("then %d: %s" % (bad.code, bad.output))`))
		p.says("code 0")
		if !l.has("/mark") {
			t.Error("the program has not run")
		}
		p.says("then 1: invalid argument")
		p.exits(0)
		if l.has("/mark") {
			t.Error("its undo has not run")
		}
	})
	for _, who := range []string{"supervisor", "agent"} {
		t.Run(who+" killed", func(t *testing.T) {
			l := newLab(t)
			p := l.start(l.execScript(`observe("15s")`))
			p.says("code 0")
			l.signal(who, syscall.SIGKILL)
			<-p.ended
			l.gone()
			l.once(0, "recover")
			if l.has("/mark") {
				t.Error("its undo has not run")
			}
		})
	}
	t.Run("not by the policy", func(t *testing.T) {
		l := newLab(t)
		p := l.start("--policy", l.write("policy.yaml", "exec: false\n"), l.execScript())
		p.exits(64)
		p.says(`policy.yaml:1: exec: false`)
		if l.has("/mark") {
			t.Error("it has run all the same")
		}
	})
}

// What a script asks for stands in the journal, with its answer.
func TestProbes(t *testing.T) {
	l := newLab(t)
	script := l.script(l.web,
		`observe("1s")`,
		fmt.Sprintf(`note("up is %%s" %% promql('up{instance="%s:8080"}'))`, l.web.Name),
		`note("nothing is %s" % promql("nothing_total"))`,
		fmt.Sprintf(`note("it has said %%d lines" %% len(logs(%q)))`, l.victim.Name),
		fmt.Sprintf(`note("orders: %%s" %% sql("postgres://a:hidden@%s:9/x", "SELECT 1").error)`, l.victim.Name),
		fmt.Sprintf(`pause(%q, duration = "500ms")`, l.victim.Name))
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	script = l.write("exp.star", fmt.Sprintf("metrics([%q])\n%s", l.web.Name+":8080/metrics", text))
	p := l.start(script)
	p.exits(0)
	for _, want := range []string{"up is 1", "nothing is None", "it has said 0 lines", "orders: sql: cannot connect: .*refused", `read postgres://a:xxxxx@`} {
		p.says(want)
	}
	kinds := map[string]int{}
	for _, e := range l.events() {
		kinds[e.Kind]++
		if d, ok := e.Data.(journal.SQL); ok && (strings.Contains(d.DSN, "hidden") || d.Error == "") {
			t.Errorf("got %+v", d)
		}
	}
	if kinds["promql"] != 2 || kinds["logs"] != 1 || kinds["sql"] != 1 {
		t.Errorf("got events %v", kinds)
	}
	other := enginetest.Run(t, enginetest.Options{})
	bad := l.write("bad.star", strings.Replace("metrics([\""+l.web.Name+":8080/metrics\"])\n"+string(text), `observe("1s")`, `logs("`+other.Name+`")`, 1))
	p = l.start(bad)
	p.exits(5)
	p.says("logs: .* is no target of the blast radius")
}

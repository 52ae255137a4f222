package uml

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// marked is a line that the testing package prints with -test.v=test2json.
func marked(lines ...string) []byte {
	var b strings.Builder
	for _, l := range lines {
		if t := strings.TrimSpace(l); strings.HasPrefix(t, "---") || strings.HasPrefix(l, "===") || l == "PASS" || l == "FAIL" {
			l = "\x16" + l
		}
		b.WriteString(l + "\n")
	}
	return []byte(b.String())
}

var replays = map[string]struct {
	result Result
	ci     string
	want   string // what the outer tests say
	fails  bool
}{
	"passed": {Result{marked("=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS"), "exit 0"}, "true", "--- PASS: TestPlay/job/TestA", false},
	"failed": {Result{marked("=== RUN   TestA", "=== RUN   TestA/sub", "    a_test.go:7: cheese", "    --- FAIL: TestA/sub (0.00s)",
		"--- FAIL: TestA (0.00s)", "FAIL"), "exit 1"}, "", "--- FAIL: TestPlay/job/TestA/sub", true},
	"its words": {Result{marked("=== RUN   TestA", "    a_test.go:7: cheese", "--- FAIL: TestA (0.00s)", "FAIL"), "exit 1"}, "", "a_test.go:7: cheese", true},
	"skipped":   {Result{marked("=== RUN   TestA", "--- SKIP: TestA (0.00s)", "PASS"), "exit 0"}, "", "--- SKIP: TestPlay/job/TestA", false},
	"skipped in CI": {Result{marked("=== RUN   TestA", "--- SKIP: TestA (0.00s)", "PASS"), "exit 0"}, "true",
		"CI must run it", true},
	"died":        {Result{marked("=== RUN   TestA", "panic: cheese"), "exit 2"}, "", "never ended", true},
	"hung":        {Result{marked("=== RUN   TestA", "--- PASS: TestA (0.00s)"), ""}, "", `got status "", want exit 0`, true},
	"left things": {Result{marked("=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS"), "exit 0, but has left running: x"}, "", "has left running", true},
	"nothing":     {Result{marked("testing: warning: no tests to run", "PASS"), "exit 0"}, "", "has run no test", true},
}

// What has happened in the guest is what go test says here.
func TestReplay(t *testing.T) {
	for name, r := range replays {
		cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^TestPlay$")
		cmd.Env = append(os.Environ(), "UML_REPLAY="+name, "CI="+r.ci)
		out, err := cmd.CombinedOutput()
		if (err != nil) != r.fails || !strings.Contains(string(out), r.want) {
			t.Errorf("%s: got error %v, want one: %v; and %q in\n%s", name, err, r.fails, r.want, out)
		}
	}
}

// TestPlay is what TestReplay runs in a process of its own.
func TestPlay(t *testing.T) {
	name := os.Getenv("UML_REPLAY")
	if name == "" {
		return // it shows nothing by itself
	}
	Replay(t, Job{Name: "job"}, replays[name].result)
}

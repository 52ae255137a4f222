package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
)

// binary is the real runner: built by make, or here.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("RUNNER"); path != "" {
		return path, nil
	}
	path, err := filepath.Abs("../bin/runner")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the runner: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) { enginetest.Main(m) }

// A lab is a workspace of its own and two containers: one that serves, and one
// that is harmed. Runs in it have a state directory of their own, so that labs
// can run side by side.
type lab struct {
	t           testing.TB
	dir         string
	inside      bool   // agents are containers; else they are children
	volume      string // of the ledgers of agents in containers; else the folder has them
	web, victim *enginetest.Container
}

func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	l := &lab{t: t, dir: t.TempDir()}
	l.web = enginetest.Run(t, enginetest.Options{Network: "bridge"})
	l.victim = enginetest.Run(t, enginetest.Options{Network: "bridge", Health: enginetest.Health()})
	l.web.Ready()
	l.victim.WaitFor("healthy", enginetest.Healthy)
	return l
}

// script writes an experiment: declarations that hold for every test, then the
// method's lines. TRAFFIC is where the load goes.
func (l *lab) script(traffic *enginetest.Container, method ...string) string {
	return l.write("exp.star", fmt.Sprintf(`
hypothesis("web answers while %[2]s is down")
blast_radius(targets = [%[2]q], duration = "90s")
steady_state(baseline = "500ms", within = "15s")
load_ = traffic("http://%[1]s:8080/metrics", arrivals = "200/s", timeout = "1s")
availability = slo("availability", load_.success, min = 0.9, recovers_within = "15s")
abort_if(availability, below = 0.5, lasting = "400ms")

def method():
    %[3]s
`, traffic.Name, l.victim.Name, strings.Join(method, "\n    ")))
}

func (l *lab) write(name, text string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// A proc is a runner under way.
type proc struct {
	l     *lab
	cmd   *exec.Cmd
	out   *syncBuffer
	ended chan struct{}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// place says where agents run and have their ledgers.
func (l *lab) place() []string {
	switch {
	case l.volume != "":
		return []string{"--agent", "container", "--volume", l.volume}
	case l.inside:
		return []string{"--agent", "container", "--state", l.state()}
	}
	return []string{"--agent", "local", "--state", l.state()}
}

func (l *lab) state() string { return filepath.Join(l.dir, "state") }

// start starts the runner in the lab.
func (l *lab) start(args ...string) *proc { return l.startEnv(nil, args...) }

func (l *lab) startEnv(env []string, args ...string) *proc {
	l.t.Helper()
	path, err := binary()
	if err != nil {
		l.t.Fatal(err)
	}
	return l.startEnvCommand(env, path, append(l.place(), args...)...)
}

// startCommand starts anything in the lab, in a process group of its own.
func (l *lab) startCommand(path string, args ...string) *proc {
	return l.startEnvCommand(nil, path, args...)
}

func (l *lab) startEnvCommand(env []string, path string, args ...string) *proc {
	l.t.Helper()
	p := &proc{l: l, out: &syncBuffer{}, ended: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Env = l.dir, append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.ended)
	}()
	l.t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGCONT) // it may be stopped, or gone
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			<-p.ended
		}
		if l.t.Failed() {
			l.t.Logf("the runner said:\n%s", p.out)
		}
	})
	return p
}

// says waits until the runner has printed something that matches.
func (p *proc) says(pattern string) string {
	p.l.t.Helper()
	re := regexp.MustCompile(pattern)
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if m := re.FindString(p.out.String()); m != "" {
			return m
		}
		select {
		case <-p.ended:
			if m := re.FindString(p.out.String()); m != "" {
				return m
			}
			p.l.t.Fatalf("the runner ended and never said %q", pattern)
		default:
		}
		if time.Now().After(until) {
			p.l.t.Fatalf("the runner does not say %q", pattern)
		}
	}
}

// exits waits for the end and checks the exit code.
func (p *proc) exits(want int) {
	p.l.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(90 * time.Second):
		p.l.t.Fatalf("the runner does not end")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.l.t.Errorf("exit code: got %d, want %d", got, want)
	}
}

// events reads the only run's journal so far.
func (l *lab) events() []journal.Event {
	l.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(l.dir, "runs", "*"))
	if err != nil || len(dirs) == 0 {
		l.t.Fatalf("there is no run: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(dirs[len(dirs)-1], "journal.jsonl"))
	if err != nil {
		l.t.Fatal(err)
	}
	events, err := journal.Read(bytes.NewReader(raw))
	if err != nil {
		l.t.Fatal(err)
	}
	return events
}

// pid of one of the run's processes, from its journal.
func (l *lab) pid(name string) int {
	l.t.Helper()
	for _, e := range l.events() {
		if b, ok := e.Data.(journal.Begun); ok {
			return b.PIDs[name]
		}
	}
	l.t.Fatalf("the journal does not tell the pid of the %s", name)
	return 0
}

func (l *lab) signal(name string, s syscall.Signal) {
	l.t.Helper()
	if err := syscall.Kill(l.pid(name), s); err != nil {
		l.t.Fatalf("%v to the %s: %v", s, name, err)
	}
}

// result reads the only run's result.json.
func (l *lab) result() (r report.Result) {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(l.dir, "runs", "*", "result.json"))
	if err != nil || len(files) != 1 {
		l.t.Fatalf("got results %v, %v; want one", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// recount counts the requests sent in a window, and the bad ones, from the
// run's file of requests.
func (l *lab) recount(from, to time.Time) (n, bad int64) {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(l.dir, "runs", "*", "requests-*.csv"))
	if err != nil || len(files) != 1 {
		l.t.Fatalf("got files of requests %v, %v; want one", files, err)
	}
	file, err := os.Open(files[0])
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // read only
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, row := range rows[1:] { // seq,sent_unix_ns,latency_ns,status,ok,error
		ns, err := strconv.ParseInt(row[1], 10, 64)
		if err != nil {
			l.t.Fatal(err)
		}
		if sent := time.Unix(0, ns); sent.Before(from) || !sent.Before(to) {
			continue
		}
		n++
		if row[4] != "true" {
			bad++
		}
	}
	return n, bad
}

// log reads CHAOS_LOG.md.
func (l *lab) log() string {
	raw, err := os.ReadFile(filepath.Join(l.dir, "CHAOS_LOG.md"))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(raw)
}

// down asserts that the engine says that the victim is down.
func (l *lab) down() {
	l.t.Helper()
	if seen := l.victim.Inspect(); seen.State.Running {
		l.t.Errorf("the engine says that the victim runs, want it down: the test is not about a fault")
	}
}

// back waits until the engine says that the victim runs and is healthy, and
// that nothing of the runner is left.
func (l *lab) back() {
	l.t.Helper()
	l.victim.WaitFor("back", func(c enginetest.State) bool { return enginetest.Up(c) && enginetest.Healthy(c) })
}

// stays asserts that the victim is not harmed again.
func (l *lab) stays(d time.Duration) {
	l.t.Helper()
	began := l.victim.Inspect().State.StartedAt
	for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if seen := l.victim.Inspect(); !seen.State.Running || seen.State.StartedAt != began {
			l.t.Fatalf("the victim was harmed after everything was undone: %+v", *seen.State)
		}
	}
}

// gone waits until none of the run's processes is left, nor a container of theirs.
func (l *lab) gone() {
	l.t.Helper()
	for _, name := range []string{"supervisor", "agent", "worker"} {
		pid := l.pid(name)
		for until := time.Now().Add(30 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				l.t.Errorf("the %s (%d) is left over", name, pid)
				break
			}
		}
	}
	if l.inside {
		l.noContainer()
	}
}

// alive says whether a process runs the runner still; a zombie does not.
func alive(pid int) bool {
	file, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // read only
	line, _ := bufio.NewReader(file).ReadString('\n')
	_, rest, _ := strings.Cut(line, ") ")
	return !strings.HasPrefix(rest, "Z") && strings.Contains(line, "(runner)")
}

// once runs the runner to its end and returns what it said.
func (l *lab) once(want int, args ...string) string {
	l.t.Helper()
	p := l.start(args...)
	p.exits(want)
	return p.out.String()
}

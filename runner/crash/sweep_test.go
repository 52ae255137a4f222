//go:build crash

package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"chaosrunner/runner/agent/enginetest"
)

// modest is how many trials run unless CRASH_TRIALS says otherwise: with the
// random instants among them, each step is met once.
const modest = 104

func TestMain(m *testing.M) { enginetest.Main(m) }

func number(t *testing.T, name string, or uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return or
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: got %q, want a number", name, text)
	}
	return n
}

// build makes the real runner, in a place where no other build changes it
// under the sweep.
func build(t *testing.T) string {
	if path := os.Getenv("RUNNER"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "runner")
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s", "-o", path, "..")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the runner: %v\n%s", err, out)
	}
	return path
}

// Every trial ends with the engine as it was before.
func TestSweep(t *testing.T) {
	enginetest.Client(t)
	seed, n := number(t, "CRASH_SEED", rand.Uint64N(1e6)), number(t, "CRASH_TRIALS", modest)
	slots := number(t, "CRASH_PARALLEL", 8)
	var plans []plan
	for i := range n {
		plans = append(plans, makePlan(seed, int(i)))
	}
	if one := os.Getenv("CRASH_TRIAL"); one != "" {
		plans, slots = []plan{makePlan(seed, int(number(t, "CRASH_TRIAL", 0)))}, 1
	}
	s := &sweep{t: t, runner: build(t), began: time.Now()}
	var err error
	if s.site, err = newSite(); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("crash: CRASH_SEED=%d, %d trials\n", seed, len(plans))
	todo := make(chan plan)
	var all sync.WaitGroup
	for i := range min(slots, uint64(len(plans))) {
		all.Go(func() {
			w := s.world(int(i))
			for p := range todo {
				if s.try(p, w); t.Failed() {
					w = s.renewed(int(i), w)
				}
			}
		})
	}
	for _, p := range plans {
		todo <- p
	}
	close(todo)
	all.Wait()
	printAll(os.Stdout, s.outcomes)
	fmt.Printf("\n%d trials in %v\n", len(s.outcomes), time.Since(s.began).Round(time.Second))
}

type sweep struct {
	t      *testing.T
	runner string
	site   *site
	began  time.Time

	mu       sync.Mutex
	outcomes []outcome
}

// world makes two targets: one without a restart policy, one that is always
// restarted. Those of every fourth slot have a health check.
func (s *sweep) world(slot int) *world {
	w := &world{engine: enginetest.Client(s.t)}
	for i := range w.targets {
		o := enginetest.Options{Env: []string{"TERM_MODE=exit"}}
		if i == 1 {
			o.Policy = container.RestartPolicyAlways
		}
		if slot%4 == 0 {
			o.Health = enginetest.Health()
			o.Health.Interval = time.Second
		}
		w.targets[i] = enginetest.Run(s.t, o)
	}
	return w
}

// renewed is a world that no failed trial has left its traces in.
func (s *sweep) renewed(slot int, w *world) *world {
	if err := w.ready(); err == nil {
		return w
	}
	for _, k := range w.targets {
		k.Remove()
	}
	return s.world(slot)
}

// try runs one trial.
func (s *sweep) try(p plan, w *world) {
	dir, err := os.MkdirTemp("", "crash")
	if err != nil {
		s.t.Error(err)
		return
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	fresh := *w
	fresh.harmed, fresh.sealed, fresh.last = false, [2]string{}, time.Time{}
	t := &trial{plan: p, world: &fresh, id: fmt.Sprintf("%d-%d-%d", os.Getpid(), p.seed, p.n), dir: dir, runner: s.runner, site: s.site}
	err = t.run()
	o := outcome{plan: p, harmed: t.harmed, healed: t.healed, err: err}
	if t.harmed && t.last.After(t.from) && t.deadly() {
		o.timed, o.took = true, t.last.Sub(t.from)
	}
	s.mu.Lock()
	s.outcomes = append(s.outcomes, o)
	n := len(s.outcomes)
	s.mu.Unlock()
	if err != nil {
		s.t.Errorf("trial %d: %v\n    %v\n%s", p.n, err, p, t.words())
	}
	if n%100 == 0 || testing.Verbose() && flag.Lookup("test.v").Value.String() == "true" && n%25 == 0 {
		fmt.Printf("crash: %d trials after %v\n", n, time.Since(s.began).Round(time.Second))
	}
}

// deadly says whether the blow ends the run, so that there is a time to count.
func (t *trial) deadly() bool {
	for w, h := range t.blow {
		if h == kill || h == stop && w != worker {
			return true
		}
	}
	return false
}

// words are what the runners of a trial have said.
func (t *trial) words() string {
	var all strings.Builder
	for _, s := range t.said {
		fmt.Fprintf(&all, "    | %s\n", strings.ReplaceAll(strings.TrimSpace(s.String()), "\n", "\n    | "))
	}
	return all.String()
}

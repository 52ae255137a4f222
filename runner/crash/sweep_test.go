package crash

import (
	"errors"
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
	"github.com/docker/docker/client"

	"chaosrunner/runner/agent/enginetest"
)

// modest is how many trials run unless CRASH_TRIALS says otherwise. They are the
// same ones every time and meet two steps in three; 200 meet each three times.
const modest = 56

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
	engine := enginetest.Client(t)
	sweepOld(t, engine)
	kinds, lacks := possible()
	// make test has the same trials every time, make crash others.
	usual := uint64(2026)
	if os.Getenv("CRASH_TRIALS") != "" {
		usual = rand.Uint64N(1e6)
	}
	seed, n := number(t, "CRASH_SEED", usual), number(t, "CRASH_TRIALS", modest)
	s := &sweep{t: t, engine: engine, runner: build(t), began: time.Now(), slots: number(t, "CRASH_PARALLEL", 8)}
	s.modest = os.Getenv("CRASH_TRIALS") == ""
	var plans []plan
	for i := range n {
		plans = append(plans, makePlan(seed, int(i), kinds))
	}
	if os.Getenv("CRASH_TRIAL") != "" {
		plans, s.slots = []plan{makePlan(seed, int(number(t, "CRASH_TRIAL", 0)), kinds)}, 1
	}
	var err error
	if s.site, err = newSite(); err != nil {
		t.Fatal(err)
	}
	for _, why := range lacks {
		fmt.Println("crash: not swept here:", why)
	}
	fmt.Printf("crash: CRASH_SEED=%d, %d trials\n", seed, len(plans))
	s.run(plans)
	printAll(os.Stdout, s.outcomes)
	fmt.Printf("\n%d of %d trials in %v\n", len(s.outcomes), len(plans), time.Since(s.began).Round(time.Second))
}

// A sweep runs trials side by side, each slot in worlds of its own.
type sweep struct {
	t      *testing.T
	engine *client.Client
	runner string
	site   *site
	began  time.Time
	slots  uint64
	modest bool // nobody has said how many trials

	mu       sync.Mutex
	outcomes []outcome
}

const (
	// reserve is the time that the test keeps back for its last trials.
	reserve = 4 * time.Minute
	// budget is the time in which trials are begun, unless CRASH_TRIALS has said
	// how many: a slow machine has fewer of them.
	budget = 4 * time.Minute
)

func (s *sweep) run(plans []plan) {
	todo := make(chan plan)
	var all sync.WaitGroup
	for i := range min(s.slots, uint64(len(plans))) {
		all.Go(func() { s.serve(int(i), todo) })
	}
	defer all.Wait()
	defer close(todo)
	for i, p := range plans {
		end, ends := s.t.Deadline()
		late := ends && time.Until(end) < reserve || s.modest && time.Since(s.began) > budget
		if late && i > len(steps)*steady/(steady-1) { // each step has been met
			return
		}
		todo <- p
	}
}

// serve runs trials in the worlds of a slot: one without a network, which is
// quicker, and one with.
func (s *sweep) serve(slot int, todo <-chan plan) {
	worlds := map[bool]*world{}
	for p := range todo {
		w := worlds[p.wired()]
		if w == nil {
			w = s.world(slot, p.wired())
			worlds[p.wired()] = w
		}
		if !s.try(p, w) { // no failed trial may leave its traces in the next
			for _, k := range w.targets {
				k.Remove()
			}
			delete(worlds, p.wired())
		}
	}
}

// world makes two targets: one without a restart policy, one that is always
// restarted. Those of every fourth slot have a health check.
func (s *sweep) world(slot int, wired bool) *world {
	w := &world{engine: s.engine}
	for i := range w.targets {
		o := options(s.t, wired)
		if i == 1 {
			o.Policy = container.RestartPolicyAlways
		}
		if slot%4 == 0 {
			o.Health = enginetest.Health()
			o.Health.Interval = time.Second
			o.Health.Retries = 1000 // a check that a busy machine fails is no harm of ours
		}
		w.targets[i] = enginetest.Run(s.t, o)
	}
	return w
}

// atMost is how often a trial is tried that misses its moment.
const atMost = 5

// try runs one trial, again where its moment was missed.
func (s *sweep) try(p plan, w *world) bool {
	for tries := range atMost {
		t, err := s.once(p, w, tries, nil)
		if _, ok := errors.AsType[missed](err); ok && tries < atMost-1 && !isLeak(err) {
			continue
		}
		s.count(t, err)
		return err == nil
	}
	return false
}

func (s *sweep) once(p plan, w *world, tries int, sabotage func(*trial)) (*trial, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("runnercrash-%d-", os.Getpid()))
	if err != nil {
		return &trial{plan: p, world: w}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	fresh := *w
	fresh.harmed, fresh.sealed, fresh.last = false, [2]string{}, time.Time{}
	t := &trial{
		plan: p, world: &fresh, id: fmt.Sprintf("%d-%d-%d-%d", os.Getpid(), p.seed, p.n, tries), tries: tries,
		dir: dir, runner: s.runner, site: s.site, sabotage: sabotage,
	}
	return t, t.run()
}

func (s *sweep) count(t *trial, err error) {
	o := outcome{plan: t.plan, harmed: t.harmed, healed: t.healed, err: err}
	if t.harmed && t.last.After(t.from) && t.deadly() {
		o.timed, o.took = true, t.last.Sub(t.from)
	}
	s.mu.Lock()
	s.outcomes = append(s.outcomes, o)
	n := len(s.outcomes)
	s.mu.Unlock()
	if err != nil {
		s.t.Errorf("trial %d: %v\n    %v\n%s", t.n, err, t.plan, t.words())
	}
	if n%100 == 0 || testing.Verbose() && n%25 == 0 {
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
	for _, p := range t.runs {
		fmt.Fprintf(&all, "    | %s\n", strings.ReplaceAll(strings.TrimSpace(p.said.String()), "\n", "\n    | "))
	}
	return all.String()
}

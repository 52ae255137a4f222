package crash

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// who can be struck, and how.
type who int

const (
	supervisor who = iota
	agent
	worker
)

func (w who) String() string { return [...]string{"supervisor", "agent", "worker"}[w] }

type how int

const (
	kill   how = iota // SIGKILL
	stop              // SIGSTOP, and SIGCONT later
	starve            // a hundredth of its time, for a while
)

func (h how) String() string { return [...]string{"KILL", "STOP", "starve"}[h] }

// Steps at which a run can be met. Those of "second:" are met by the agent that
// takes the place of one that was killed, those of "recover:" by `runner
// recover` after a run of which all was killed.
var steps = []string{
	"after-lock", "before-fsync-header", "before-open",
	"before-fsync-rollback", "before-intent", "before-fsync-intent", "after-intent", "after-apply", "after-applied",
	"after-latch", "before-undo", "after-undoing", "after-undo", "after-undone",
	"before-release", "after-closed", "before-fsync-rolling", "before-fsync-rolled", "before-remove",

	"run-greeted", "run-journal", "run-method", "run-inject", "run-applied", "run-answer", "run-observe",
	"run-undo-one", "run-ended", "run-undo", "run-undone", "run-rollback", "run-rolled",
	"run-result", "run-log", "run-close", "run-closed",

	"second:run-second", "second:before-undo", "second:after-undoing", "second:after-undo", "second:after-undone",
	"second:before-settle", "second:before-fsync-rolling", "second:run-rollback", "second:before-fsync-rolled", "second:before-remove-dead",

	"recover:before-undo", "recover:after-undoing", "recover:after-undo", "recover:after-undone",
	"recover:before-settle", "recover:before-fsync-rolling", "recover:run-rollback", "recover:before-fsync-rolled", "recover:run-settled", "recover:before-remove-dead",
}

// often has the steps that a run passes more than once.
var often = map[string]int{
	"before-intent": 2, "before-fsync-intent": 2, "after-intent": 2, "after-apply": 2, "after-applied": 2,
	"before-undo": 2, "after-undoing": 2, "after-undo": 2, "after-undone": 2,
	"run-inject": 2, "run-applied": 2, "run-answer": 2, "run-observe": 3,
}

// blows has who is struck and how: each alone, each pair, and all at once.
var blows = func() (all []map[who]how) {
	for _, w := range []who{supervisor, agent, worker} {
		for _, h := range []how{kill, stop, starve} {
			all = append(all, map[who]how{w: h})
		}
	}
	for _, pair := range [][2]who{{supervisor, agent}, {supervisor, worker}, {agent, worker}} {
		for _, h := range [][2]how{{kill, kill}, {stop, stop}, {kill, stop}, {stop, kill}, {starve, starve}} {
			all = append(all, map[who]how{pair[0]: h[0], pair[1]: h[1]})
		}
	}
	for _, h := range [][3]how{{kill, kill, kill}, {stop, stop, stop}, {starve, starve, starve}, {stop, kill, kill}, {kill, stop, kill}, {stop, kill, stop}} {
		all = append(all, map[who]how{supervisor: h[0], agent: h[1], worker: h[2]})
	}
	return all
}()

// A plan is what one trial does. It follows from the seed and the number.
type plan struct {
	seed   uint64
	n      int
	stage  string        // "", "second" or "recover"
	step   string        // "" at a random instant
	nth    int           // time that the step is passed
	after  time.Duration // the method has begun, at a random instant; below 0: since the start
	blow   map[who]how
	order  []who
	gap    time.Duration // between two blows
	meet   time.Duration // how long who was met waits after them
	hold   time.Duration // a stopped or starved process stays so, where nothing else ends it
	remedy string        // "recover", "run", "stop" or "cont", where nobody lives and runs
	first  row           // the fault on the first target
	second row
	inside bool // agents run in containers
	timed  bool // the second fault has a duration
}

// steady is every how many trials meet a random instant.
const steady = 4

func makePlan(seed uint64, n int, kinds []row) plan {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	p := plan{seed: seed, n: n, nth: 1, after: time.Duration(rng.Int64N(int64(2500 * time.Millisecond)))}
	if n%steady != steady-1 {
		i := n - n/steady
		// Each round over the steps strikes the next blow at each, from a start
		// of the seed's: after as many rounds as there are blows, all have met.
		at, round := i%len(steps), i/len(steps)
		p.stage, p.step = "", steps[at]
		if stage, step, ok := strings.Cut(p.step, ":"); ok {
			p.stage, p.step = stage, step
		}
		if most := often[p.step]; most > 0 && p.stage == "" {
			p.nth = 1 + rng.IntN(most)
		}
		first := rand.New(rand.NewPCG(seed, uint64(at))).Perm(len(blows))
		p.blow = blows[first[round%len(blows)]]
	} else {
		p.blow = blows[rng.IntN(len(blows))]
		if rng.IntN(5) == 0 {
			p.after = -p.after / 2
		}
	}
	for _, w := range rng.Perm(3) {
		if _, struck := p.blow[who(w)]; struck {
			p.order = append(p.order, who(w))
		}
	}
	if rng.IntN(2) == 0 { // else at once
		p.gap = time.Duration(rng.Int64N(int64(60 * time.Millisecond)))
	}
	p.meet = []time.Duration{0, 30 * time.Millisecond, 400 * time.Millisecond}[rng.IntN(3)]
	p.hold = time.Second + time.Duration(rng.Int64N(int64(time.Second)))
	p.remedy = []string{"recover", "run", "stop", "cont"}[rng.IntN(4)]
	p.first, p.second = kinds[rng.IntN(len(kinds))], kinds[rng.IntN(len(kinds))]
	p.inside, p.timed = rng.IntN(3) == 0, rng.IntN(3) == 0
	return p
}

// where names the boundary, for the table.
func (p plan) where() string {
	switch {
	case p.step == "":
		return "random instant"
	case p.stage != "":
		return p.stage + ":" + p.step
	}
	return p.step
}

// struck names the victims and what they get, for the table.
func (p plan) struck() string {
	var parts []string
	for _, w := range []who{supervisor, agent, worker} {
		if h, ok := p.blow[w]; ok {
			parts = append(parts, h.String()+" "+w.String())
		}
	}
	return strings.Join(parts, ", ")
}

// agents says where they run.
func (p plan) agents() string {
	if p.inside {
		return "in a container"
	}
	return "as a child"
}

// wired says whether its targets need a network.
func (p plan) wired() bool { return p.first.wired || p.second.wired }

// sick says whose health may be late: the next run as a remedy pauses the first.
func (p plan) sick() [2]bool { return [2]bool{p.first.sick || p.remedy == "run", p.second.sick} }

func (p plan) String() string {
	at := fmt.Sprintf("%s (time %d)", p.where(), p.nth)
	if p.step == "" {
		at = fmt.Sprintf("%v after the method began", p.after)
		if p.after < 0 {
			at = fmt.Sprintf("%v after the start", -p.after)
		}
	}
	return fmt.Sprintf("%s and %s, agent %s; at %s: %s in the order %v, %v apart; then %s\n    again: CRASH_SEED=%d CRASH_TRIAL=%d go test -count=1 -v -run 'TestSweep$' ./runner/crash",
		p.first.kind, p.second.kind, p.agents(), at, p.struck(), p.order, p.gap, p.remedy, p.seed, p.n)
}

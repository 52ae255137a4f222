package supervise

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
)

const (
	blindLimit  = 3 * time.Second        // of no data, before a condition aborts
	tickDefault = 200 * time.Millisecond // between evaluations, without a scrape interval
	windowTicks = 10                     // the watcher's window, in intervals
	tickLimit   = time.Second            // for all evaluations of one tick, so that the heart beats on
)

// The watcher evaluates the abort conditions on its own clock, right after
// each sample, and sends the agent's heartbeat after each evaluation. No file,
// terminal or script stands in its loop. It runs as long as there is an agent.
type watcher struct {
	r    *run
	poke chan struct{} // a sample has come
	quit chan struct{}
	done chan struct{}

	mu         sync.Mutex
	armed      bool
	conditions []*condition
	listener   func(now time.Time) // the baseline's and the recovery's own look; may be nil
	interval   time.Duration
}

// condition is an abort condition and what is known of it.
type condition struct {
	spec.Abort
	violated time.Time // since when, without a break; zero: it is not
	blind    time.Time // since when there is no data; zero: there is
}

func newWatcher(r *run) *watcher {
	return &watcher{
		r: r, poke: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		interval: tickDefault,
	}
}

func (w *watcher) configure(aborts []spec.Abort, interval time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.interval = interval
	for _, a := range aborts {
		w.conditions = append(w.conditions, &condition{Abort: a})
	}
}

// arm lets conditions abort, from the first apply to the last undo.
func (w *watcher) arm(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = on
	w.restart()
}

// forget has every condition begin to last anew.
func (w *watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restart()
}

func (w *watcher) restart() {
	for _, c := range w.conditions {
		c.violated, c.blind = time.Time{}, time.Time{}
	}
}

// listen sets what is called after each evaluation; nil for nothing.
func (w *watcher) listen(f func(now time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener = f
}

// window is what an SLI is asked for at now: the last ten intervals, and at
// least two seconds, so that a few requests decide nothing.
func (w *watcher) window(now time.Time) sli.Window {
	return sli.Window{Start: now.Add(-max(windowTicks*w.interval, 2*time.Second)), End: now}
}

// sampled is called when a round of scrapes is in.
func (w *watcher) sampled(time.Time) {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

func (w *watcher) loop() {
	defer close(w.done)
	last := w.r.now()
	timer := time.NewTimer(w.interval)
	defer timer.Stop()
	for {
		select {
		case <-w.poke:
		case <-timer.C:
		case <-w.quit:
			return
		}
		now := w.r.now()
		if now.Sub(last) > answerLimit {
			w.forget() // this process stood still: what it did not see is no blindness of a source
		} else {
			w.look(now)
		}
		w.heart(now, now.Sub(last))
		last = now
		timer.Reset(w.interval + w.interval/4) // samples lead; the timer follows where none come
	}
}

func (w *watcher) stop() {
	close(w.quit)
	<-w.done
}

// heart sends the heartbeat and checks the last one's answer. After a pause of
// the supervisor itself (SIGSTOP, a suspended machine) the agent may be fine:
// it gets a full second from now on.
func (w *watcher) heart(now time.Time, since time.Duration) {
	a := w.r.agent
	if since > answerLimit {
		a.forgive()
	}
	select {
	case <-a.exited:
		w.r.loseAgent(a.explain(fmt.Errorf("%w", errAgentDied)))
		return
	default:
	}
	if a.wedged(now, answerLimit) {
		w.r.loseAgent(fmt.Errorf("no answer to a heartbeat for %s", answerLimit))
		return
	}
	a.beat()
}

func (w *watcher) look(now time.Time) {
	w.mu.Lock()
	conditions, armed, listener := w.conditions, w.armed, w.listener
	w.mu.Unlock()
	if armed {
		if fired := w.fired(conditions, w.evaluate(now, conditions), now); fired != nil {
			w.r.abort(*fired)
		}
	}
	if listener != nil {
		listener(now)
	}
}

// fired updates every condition and returns the first that fires.
func (w *watcher) fired(conditions []*condition, readings []reading, now time.Time) (first *journal.Abort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range conditions {
		w.r.journal.Record(sampleOf(c.Name, readings[i].Value, c.bad(readings[i])))
		if abort := c.judge(readings[i], now); abort != nil && first == nil {
			first = abort
		}
	}
	return first
}

// reading is a condition's value, and for how long new data behind it has been
// overdue.
type reading struct {
	sli.Value
	overdue time.Duration
	late    string // why it is overdue
}

// evaluate asks for all conditions at once: one source that hangs must not
// hold up the others, nor the heartbeat.
func (w *watcher) evaluate(now time.Time, conditions []*condition) []reading {
	ctx, cancel := context.WithTimeout(context.Background(), tickLimit)
	defer cancel()
	readings := make([]reading, len(conditions))
	var all sync.WaitGroup
	for i, c := range conditions {
		all.Go(func() {
			r := reading{Value: c.known(w.r.sources.value(ctx, c.SLI, w.window(now)))}
			r.overdue, r.late = w.r.sources.eval.Fresh(ctx, c.SLI, now)
			readings[i] = r
		})
	}
	all.Wait()
	return readings
}

// known takes a value that cannot tell whether the condition holds for no
// value: a quantile beyond its histogram's last boundary may be anything above.
func (c *condition) known(v sli.Value) sli.Value {
	if v.OK && v.AtLeast && c.Above != nil && *c.Above >= v.V {
		return sli.Value{Why: fmt.Sprintf("the histogram ends at %g, below the threshold %g", v.V, *c.Above)}
	}
	return v
}

func (c *condition) bad(v reading) bool {
	return v.OK && (c.Below != nil && v.V < *c.Below || c.Above != nil && v.V > *c.Above)
}

// judge updates a condition with a reading and says whether it fires.
func (c *condition) judge(v reading, now time.Time) *journal.Abort {
	bad := c.bad(v)
	since(&c.violated, bad, now, v.OK) // no data leaves it as it was: it proves nothing
	since(&c.blind, !v.OK || v.overdue > 0, now, true)
	fired := journal.Abort{Name: c.Name, Want: wanted(c.Abort), Seen: now, Pos: c.Pos}
	switch {
	case bad && now.Sub(c.violated) >= c.Lasting:
		fired.Value, fired.Count, fired.Since = &v.V, v.Total, c.violated
	case c.blindFor(v, now) >= blindLimit:
		fired.Blind, fired.Since, fired.Why = true, now.Add(-c.blindFor(v, now)), cmp.Or(v.Why, v.late)
	default:
		return nil
	}
	return &fired
}

// blindFor is how long the condition has had no data, or only old data. Data
// that was overdue before the watcher could look counts from its own time.
func (c *condition) blindFor(v reading, now time.Time) time.Duration {
	if c.blind.IsZero() {
		return 0
	}
	blind := now.Sub(c.blind)
	if v.overdue != sli.Never {
		blind = max(blind, v.overdue)
	}
	return blind
}

func since(at *time.Time, is bool, now time.Time, known bool) {
	switch {
	case is && at.IsZero():
		*at = now
	case !is && known:
		*at = time.Time{}
	}
}

func wanted(a spec.Abort) string { return report.Objective(a.Below, a.Above) }

func sampleOf(name string, v sli.Value, bad bool) journal.Sample {
	s := journal.Sample{Name: name, Count: v.Total, Violated: bad}
	if v.OK {
		s.Value = &v.V
	} else {
		s.Why = v.Why
	}
	return s
}

// abort ends the run because a condition fired.
func (r *run) abort(a journal.Abort) {
	r.mu.Lock()
	if r.stopping != nil || r.undoing {
		r.mu.Unlock()
		return
	}
	a.Elapsed = a.Seen.Sub(r.first).Seconds()
	r.mu.Unlock()
	r.journal.Record(a)
	reason := fmt.Sprintf("%s %s, want %s", a.Name, report.Number(a.Value), a.Want)
	if a.Blind {
		reason = fmt.Sprintf("blind on %s: %s", a.Name, a.Why)
	}
	r.finish(journal.Stopping{Ending: report.Aborted, Reason: reason})
}

// loseAgent ends the run because its agent is dead or wedged. A wedged one is
// killed: what the kernel holds for it goes at once, the rest by a second
// agent, which undoAll starts when its call fails.
func (r *run) loseAgent(err error) {
	r.mu.Lock()
	known := r.lost != nil
	r.lost = err
	r.mu.Unlock()
	if known {
		return
	}
	if !r.live.Load() {
		r.cancel(err)
		return
	}
	r.fail("agent", err)
	go r.agent.kill() //nolint:errcheck // the second agent kills it again, and tells
}

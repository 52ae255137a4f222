package supervise

import (
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
	looked := last
	timer := time.NewTimer(w.interval)
	defer timer.Stop()
	for {
		poked := false
		select {
		case <-w.poke:
			poked = true
		case <-timer.C:
		case <-w.quit:
			return
		}
		now := w.r.now()
		wait := w.interval + w.interval/4 // samples lead; the timer follows where none come
		switch {
		case now.Sub(last) > answerLimit:
			w.forget() // this process stood still: what it did not see is no blindness of a source
		case poked || now.Sub(looked) >= wait:
			w.look(now)
			looked = now
		}
		w.heart(now, now.Sub(last))
		last = now
		timer.Reset(min(wait, tickDefault+tickDefault/4)) // the heart beats on where samples are rare
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

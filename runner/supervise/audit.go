package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"chaosrunner/builtins/spec"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/report"
)

const (
	auditEvery   = 2 * time.Second // between looks under the fault
	settleEvery  = 500 * time.Millisecond
	auditLimit   = 20 * time.Second // for one function of an invariant
	auditRemark  = 5 * time.Second  // of violation, before the journal's readers are told
	undefinedFor = "it cannot be told"
)

// The auditor asks for the experiment's invariants in a worker of its own: the
// other one may be in the middle of method().
//
//	baseline ── all hold? ──▶ watch, every 2 s ──▶ over ──▶ settle ── all hold again, each within its time?
//	   └ no: refused             violated for longer than within: broke     └ no: broke; cannot be told: inconclusive
type auditor struct {
	r      *run
	worker *worker
	books  []*book
	quit   context.CancelFunc // of the watch
	done   chan struct{}
}

// A book is an invariant and what is known of it.
type book struct {
	spec.Invariant
	args json.RawMessage // of its function

	value *float64 // at the last look; nil: it could not be told
	why   string
	held  time.Time // since when it holds without a break; zero: it does not, or was never seen to
	bad   time.Time // since when it is violated without a break; zero: it is not
	told  bool      // that it is violated

	worst  *float64      // under the fault
	lasted time.Duration // the longest violation under the fault
	seen   int           // numbers under the fault
}

func newAuditor(r *run) *auditor {
	a := &auditor{r: r}
	for _, inv := range r.exp.Invariants {
		a.books = append(a.books, &book{Invariant: inv})
	}
	return a
}

// baseline refuses the run where an invariant does not hold, or cannot be told.
func (a *auditor) baseline() bool {
	for _, b := range a.books {
		err := a.begin(b)
		if a.r.ending() {
			return false
		}
		now := a.r.now()
		a.r.journal.Record(journal.Judged{SLO: b.Name, Window: journal.PhaseBaseline, From: now, To: now, Value: b.value, Note: b.why})
		if err != nil {
			a.r.finish(journal.Stopping{Ending: report.Refused, Reason: fmt.Sprintf("no steady state, so nothing was injected: invariant %s: %v", b.Name, err)})
			return false
		}
	}
	return true
}

// begin waits until an invariant holds: what is under way may settle.
func (a *auditor) begin(b *book) error {
	limit := time.Now().Add(b.Within)
	if b.Before.Name != "" {
		got, err := a.ask(a.r.ctx, protocol.Check{Module: b.Before.Module, Func: b.Before.Name, Any: true})
		if err != nil {
			return err
		}
		if b.args, err = json.Marshal([]json.RawMessage{got}); err != nil {
			return err
		}
	}
	for {
		err := a.look(a.r.ctx, b)
		switch {
		case !b.held.IsZero() || a.r.ending():
			return nil
		case err != nil:
			return err
		case time.Now().After(limit):
			return fmt.Errorf("%s, want %s", cmp.Or(b.why, "got "+report.Number(b.value)), report.Objective(b.Min, b.Max))
		}
		if !a.wait(a.r.ctx, settleEvery) {
			return nil
		}
	}
}

// watch looks at all invariants until settle, or the end of the run.
func (a *auditor) watch() {
	if len(a.books) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.quit, a.done = cancel, make(chan struct{})
	go func() {
		defer close(a.done)
		for a.wait(ctx, auditEvery) {
			for _, b := range a.books {
				_ = a.look(ctx, b) // its why is in the journal
				if ctx.Err() != nil {
					return
				}
			}
		}
	}()
}

// rest ends the watch.
func (a *auditor) rest() {
	if a.quit != nil {
		a.quit()
		<-a.done
		a.quit = nil
	}
}

// over judges the watch when the last fault has been taken back. It goes on
// through the recovery, so that what holds again is seen when it does.
func (a *auditor) over(quick bool) {
	a.rest()
	if quick {
		return
	}
	defer a.watch()
	for _, b := range a.books {
		event := journal.Judged{SLO: b.Name, Window: "fault", From: a.r.first, To: a.r.now(), Value: b.worst, Count: int64(b.seen), Verdict: report.Held}
		switch {
		case b.seen == 0:
			event.Verdict, event.Note = "", "it could not be told under the fault: "+b.why
		case b.lasted > b.Within:
			event.Verdict = report.Broke
			event.Note = fmt.Sprintf("violated for %s at a stretch, want at most %s", report.Duration(b.lasted.Round(100*time.Millisecond)), report.Duration(b.Within))
		case b.lasted > 0:
			event.Note = fmt.Sprintf("violated for up to %s at a stretch, and may be for %s", report.Duration(b.lasted.Round(100*time.Millisecond)), report.Duration(b.Within))
		}
		a.r.journal.Record(event)
	}
}

// settle looks after the recovery until every invariant has held, or its time
// is over.
func (a *auditor) settle(last time.Time) {
	a.rest()
	began := a.r.now()
	open := append([]*book{}, a.books...)
	for len(open) > 0 {
		var left []*book
		for _, b := range open {
			_ = a.look(context.Background(), b) // its why is in the journal
			if b.held.IsZero() && a.r.now().Sub(began) < b.Within {
				left = append(left, b)
				continue
			}
			a.conclude(b, last)
		}
		if open = left; len(open) == 0 {
			return
		}
		select {
		case <-time.After(settleEvery):
		case <-a.r.hurry:
			return
		}
	}
}

func (a *auditor) conclude(b *book, last time.Time) {
	now := a.r.now()
	event := journal.Judged{SLO: b.Name, Window: journal.PhaseRecovery, From: last, To: now, Value: b.value, Verdict: report.Held, Note: b.why}
	recovery := journal.Recovery{SLO: b.Name, Limit: b.Within.Seconds()}
	switch {
	case !b.held.IsZero():
		seconds := max(0, b.held.Sub(last).Seconds())
		recovery.Seconds = &seconds
	case b.value == nil:
		event.Verdict = report.Inconclusive
	default:
		event.Verdict = report.Broke
	}
	a.r.journal.Record(event)
	if event.Verdict != report.Inconclusive { // a recovery that nobody saw is no failure to recover
		a.r.journal.Record(recovery)
	}
}

// look asks for one number and writes it down. The error is one of the script.
func (a *auditor) look(ctx context.Context, b *book) error {
	got, err := a.ask(ctx, protocol.Check{Module: b.Func.Module, Func: b.Func.Name, Args: b.args})
	if ctx.Err() != nil {
		return nil
	}
	now := a.r.now()
	b.value, b.why = nil, ""
	if err == nil {
		err = json.Unmarshal(got, &b.value)
	}
	switch {
	case err != nil:
		b.why = err.Error()
	case b.value == nil:
		b.why = undefinedFor
	}
	event := journal.Invariant{Name: b.Name, Value: b.value, Want: report.Objective(b.Min, b.Max), Why: b.why}
	event.Violated, event.News = b.take(now)
	a.r.journal.Record(event)
	return err
}

// take adds a look. News is a violation that lasts, and its end.
func (b *book) take(now time.Time) (violated, news bool) {
	if b.value == nil {
		b.held = time.Time{} // no news is not good news; a violation goes on
		return false, false
	}
	b.seen++
	violated = b.Min != nil && *b.value < *b.Min || b.Max != nil && *b.value > *b.Max
	if b.worst == nil || b.distance(*b.value) > b.distance(*b.worst) {
		b.worst = b.value
	}
	if !violated {
		b.bad = time.Time{}
		if b.held.IsZero() {
			b.held = now
		}
		news, b.told = b.told, false
		return false, news
	}
	b.held = time.Time{}
	if b.bad.IsZero() {
		b.bad = now
	}
	b.lasted = max(b.lasted, now.Sub(b.bad))
	if !b.told && now.Sub(b.bad) >= auditRemark {
		b.told = true
		return true, true
	}
	return true, false
}

// distance is how far a number is from what it must be.
func (b *book) distance(v float64) float64 {
	switch {
	case b.Min != nil && v < *b.Min:
		return *b.Min - v
	case b.Max != nil && v > *b.Max:
		return v - *b.Max
	}
	return 0
}

// forget begins the fault's account: what was before it is not its own.
func (a *auditor) forget() {
	for _, b := range a.books {
		b.worst, b.lasted, b.seen, b.bad = nil, 0, 0, time.Time{}
	}
}

// ask has the worker run a function, in a new worker where the last is gone.
func (a *auditor) ask(ctx context.Context, in protocol.Check) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, auditLimit)
	defer cancel()
	if a.worker == nil || !a.worker.alive() {
		a.leave()
		w, err := startWorker(a.r.opt, auditServer{server{a.r}})
		if err != nil {
			return nil, err
		}
		if _, err := w.load(ctx, a.r.load(protocol.RollOnly)); err != nil {
			w.end()
			return nil, err
		}
		a.worker = w
	}
	var out protocol.Checked
	if err := a.worker.ask(ctx, protocol.CallCheck, in, &out); err != nil {
		return nil, err
	}
	switch {
	case out.Error != nil:
		return nil, errors.New(out.Error.Error())
	case out.Expect != nil: // its number cannot be told
		return nil, nil
	}
	return out.Value, nil
}

func (a *auditor) close() {
	a.rest()
	a.leave()
}

// leave ends the worker; the next look has another.
func (a *auditor) leave() {
	if a.worker != nil {
		a.worker.end()
		a.worker = nil
	}
}

func (a *auditor) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// auditServer serves the auditor's worker: it may look, and nobody reads of
// each look.
type auditServer struct{ server }

func (s auditServer) Handle(ctx context.Context, call string, body json.RawMessage) (any, error) {
	switch call {
	case protocol.CallHTTP:
		return serve(body, func(in protocol.HTTP) (any, error) { return s.r.askHTTP(ctx, in) })
	case protocol.CallSQL:
		return serve(body, func(in protocol.SQL) (any, error) { return s.r.askSQL(ctx, in) })
	case protocol.CallPromQL:
		return serve(body, func(in protocol.PromQL) (any, error) { return s.r.promql(ctx, in, false) })
	case protocol.CallLogs:
		return serve(body, func(in protocol.Logs) (any, error) { return s.r.logs(ctx, in, false) })
	case protocol.CallSource, protocol.CallNote:
		return s.server.Handle(ctx, call, body)
	}
	return nil, protocol.Errorf(protocol.CodeRefused, "supervisor: got %s from a function of an invariant, which may only look", call)
}

package sli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"chaosrunner/builtins/spec"
)

// TrafficOptions are what a Traffic needs beside its declaration.
type TrafficOptions struct {
	URL         string           // the resolved URL; empty: the declared one
	Store       *Store           // gets the counters at each tick; may be nil
	CSV         io.Writer        // gets every result as a line; may be nil; may block
	Interval    time.Duration    // of the ticks; default 200 ms
	Bounds      []float64        // the objectives' thresholds in seconds, as bucket boundaries
	MaxInFlight int              // default 2,000 (about 40 kB each); see pacer for what happens there
	MaxResults  int64            // default 4,000,000 (96 MB), at which the traffic ends
	Now         func() time.Time // default Clock()
	Event       func(msg string) // for the journal; from any goroutine; must not block; may be nil
}

// Traffic sends requests at a constant rate and keeps what became of each. It
// is an open model: arrivals come when they are due, and a target that is slow
// or gone neither slows nor stops them. A refused connection is a failed request.
// Redirects are not followed.
type Traffic struct {
	kind    string // "traffic" or "probe"
	name    string
	timeout time.Duration
	expect  []int
	opts    TrafficOptions
	target  vegeta.Target
	results *Results
	csv     *csvWriter
	pacer   *pacer

	halt     chan struct{} // closed: no more arrivals
	haltOnce sync.Once
	cut      context.CancelFunc // ends what is in flight
	wasCut   context.Context
	done     chan struct{} // closed: everything has ended
	started  sync.Once

	ticked   time.Time // these two belong to the ticking goroutine
	saidFull bool
}

// NewTraffic prepares traffic, and refuses what cannot be sent.
func NewTraffic(t spec.Traffic, o TrafficOptions) (*Traffic, error) {
	header := http.Header{}
	for k, v := range t.Headers {
		header.Set(k, v)
	}
	return newTraffic("traffic", t.Name, t.Arrivals, t.Timeout, t.Expect, o, vegeta.Target{
		Method: cmp.Or(t.Method, http.MethodGet), URL: cmp.Or(o.URL, t.URL), Body: []byte(t.Body), Header: header,
	})
}

// NewProbe prepares a probe: traffic of one request every p.Every.
func NewProbe(p spec.Probe, o TrafficOptions) (*Traffic, error) {
	if p.Every <= 0 {
		return nil, fmt.Errorf("sli: probe %s: got every = %s, want more than 0", p.Name, p.Every)
	}
	return newTraffic("probe", p.Name, float64(time.Second)/float64(p.Every), p.Timeout, p.Expect, o, vegeta.Target{
		Method: http.MethodGet, URL: cmp.Or(o.URL, p.URL), Header: http.Header{},
	})
}

func newTraffic(kind, name string, rate float64, timeout time.Duration, expect []int, o TrafficOptions, target vegeta.Target) (*Traffic, error) {
	o.Interval = cmp.Or(o.Interval, 200*time.Millisecond)
	o.MaxInFlight = cmp.Or(o.MaxInFlight, 2000)
	o.MaxResults = cmp.Or(o.MaxResults, 4_000_000)
	if o.Now == nil {
		o.Now = Clock()
	}
	if o.Event == nil {
		o.Event = func(string) {}
	}
	if !(rate > 0 && rate <= 100_000) {
		return nil, fmt.Errorf("sli: %s %s: got arrivals = %v/s, want more than 0 and at most 100000", kind, name, rate)
	}
	if timeout <= 0 {
		return nil, fmt.Errorf("sli: %s %s: got timeout = %s, want more than 0", kind, name, timeout)
	}
	u, err := url.Parse(target.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("sli: %s %s: got url %q, want http://host:port/path", kind, name, target.URL)
	}
	if _, err := target.Request(); err != nil {
		return nil, fmt.Errorf("sli: %s %s: %w", kind, name, err)
	}
	if target.Header.Get("User-Agent") == "" {
		target.Header.Set("User-Agent", "chaosrunner ("+kind+" "+name+")")
	}
	t := &Traffic{
		kind: kind, name: name, timeout: timeout, expect: expect, opts: o, target: target,
		results: newResults(name, time.Duration(float64(time.Second)/rate), o.MaxResults, o.Bounds),
		halt:    make(chan struct{}), done: make(chan struct{}),
	}
	t.wasCut, t.cut = context.WithCancel(context.Background())
	t.pacer = &pacer{
		rate: rate, cap: int64(o.MaxInFlight), stop: t.halt, now: o.Now,
		full: t.resultsFull, skip: t.skip, event: t.event,
	}
	if o.CSV != nil {
		t.csv = newCSVWriter(t.results, o.CSV)
	}
	return t, nil
}

// Results are the requests so far; an Evaluator reads them.
func (t *Traffic) Results() *Results { return t.results }

// InFlight is how many requests are on their way.
func (t *Traffic) InFlight() int { return int(t.pacer.count()) }

// Start begins to send, once. When ctx ends, so do the traffic and, at once,
// what is in flight; those requests are not known rather than failed.
func (t *Traffic) Start(ctx context.Context) {
	t.started.Do(func() {
		began, wall := time.Now(), t.opts.Now()
		t.results.mu.Lock()
		t.results.started = wall.UnixNano()
		t.results.mu.Unlock()
		rt := newTransport(t.wasCut, t.timeout, t.opts.MaxInFlight, func(seq uint32) {
			t.results.begin(seq, wall.Add(time.Since(began)).UnixNano())
		})
		attacker := vegeta.NewAttacker(
			vegeta.Client(&http.Client{
				Transport:     rt,
				Timeout:       t.timeout,
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}),
			vegeta.Workers(min(10, uint64(t.opts.MaxInFlight))),
			vegeta.MaxWorkers(uint64(t.opts.MaxInFlight)),
			vegeta.MaxBody(0), // read whole, kept not at all
		)
		results := attacker.Attack(vegeta.NewStaticTargeter(t.target), t.pacer, 0, "")
		release := context.AfterFunc(ctx, func() { t.stop(); t.cut() })
		go t.run(results, func(ts time.Time) time.Time { return wall.Add(ts.Sub(began)) }, func() {
			release()
			rt.http.CloseIdleConnections()
		})
	})
}

// run collects results and ticks until the attack has ended.
func (t *Traffic) run(results <-chan *vegeta.Result, wall func(time.Time) time.Time, end func()) {
	defer close(t.done)
	defer end()
	collected, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(collected)
		for r := range results {
			t.collect(r, wall(r.Timestamp))
		}
	}()
	go func() { // apart from the ticks: a disk may hang
		defer close(written)
		t.every(collected, func() { _ = t.flush() })
	}()
	t.every(collected, t.tick)
	<-written
}

// every calls f each interval until done, and once more.
func (t *Traffic) every(done <-chan struct{}, f func()) {
	ticker := time.NewTicker(t.opts.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f()
		case <-done:
			f()
			return
		}
	}
}

func (t *Traffic) flush() error {
	if t.csv == nil {
		return nil
	}
	return t.csv.flush()
}

func (t *Traffic) tick() {
	if t.opts.Store == nil {
		return
	}
	t.opts.Store.describe(t.kind)
	now := t.opts.Now()
	if next := t.ticked.Add(time.Millisecond); now.Before(next) {
		now = next // the last tick comes when it comes, and must not be lost
	}
	t.ticked = now
	err := t.opts.Store.AppendAll(now, t.results.samples(t.kind)...)
	if errors.Is(err, ErrFull) && !t.saidFull {
		t.saidFull = true
		t.event(err.Error())
	}
}

// collect keeps one result.
func (t *Traffic) collect(in *vegeta.Result, sent time.Time) {
	t.pacer.release()
	r := result{sent: sent.UnixNano(), latency: int64(in.Latency), seq: uint32(in.Seq), code: in.Code}
	text := ""
	switch {
	case in.Code == 0 && t.wasCut.Err() != nil:
		r.outcome, text = unknown, "cut off by the end of the traffic"
	case in.Code == 0 && timedOut(in.Error):
		text = fmt.Sprintf("no whole answer within %s", t.timeout)
	case in.Code == 0:
		text = errorText(in.Error)
	case t.expected(int(in.Code)):
		r.outcome = ok
	default:
		text = fmt.Sprintf("got status %d", in.Code)
	}
	t.results.record(r, text)
}

func (t *Traffic) expected(code int) bool {
	if len(t.expect) == 0 {
		return code >= 200 && code < 400
	}
	return slices.Contains(t.expect, code)
}

func (t *Traffic) skip(due time.Time, why string) {
	t.results.record(result{sent: due.UnixNano(), seq: noSeq, outcome: unknown}, why)
}

func (t *Traffic) event(msg string) { t.opts.Event(t.kind + " " + t.name + ": " + msg) }

func (t *Traffic) resultsFull() bool {
	full := t.results.full()
	if full {
		t.event(fmt.Sprintf("ended at %d results, the limit: use fewer arrivals or a shorter run", t.opts.MaxResults))
	}
	return full
}

func (t *Traffic) stop() { t.haltOnce.Do(func() { close(t.halt) }) }

// Stop ends the arrivals, waits for what is in flight (at most the timeout,
// which bounds every request anyway), cuts off what is left, and flushes the
// results. It returns what kept the results from being written.
func (t *Traffic) Stop() error {
	t.started.Do(func() { close(t.done) })
	t.stop()
	const grace = time.Second
	if t.ended(t.timeout + grace) {
		t.cut()
		return t.flush()
	}
	t.cut()
	if t.ended(grace) {
		return t.flush()
	}
	return fmt.Errorf("sli: %s %s: %d requests, or the writing of results, did not end in %s", t.kind, t.name, t.InFlight(), t.timeout+2*grace)
}

func (t *Traffic) ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-t.done:
		return true
	case <-timer.C:
		return false
	}
}

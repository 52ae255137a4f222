package sli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Fetch reads the exposition of a target: the content type and the body. It
// must end when ctx does. The supervisor's goes through the agent.
type Fetch func(ctx context.Context, target string) (contentType string, body []byte, err error)

// Endpoint is something to scrape.
type Endpoint struct {
	Name   string            // what Fetch understands; also the source's name
	Labels map[string]string // put on each of its series
}

// Scraper reads endpoints into a Store at an interval.
//
//	tick ──▶ each endpoint that is idle ──▶ Fetch ──▶ Store ──▶ OnSample
//
// Endpoints do not wait for each other, and each has at most one scrape on its
// way. OnSample comes once a round: when all of the round's scrapes have ended,
// or half an interval after the tick if some have not; a scrape that ends later
// than that brings a call of its own. So there is a call every interval even if
// nothing answers. Calls never overlap; while one lasts, scraping goes on.
type Scraper struct {
	Store     *Store
	Endpoints []Endpoint
	Fetch     Fetch
	Interval  time.Duration     // default 200 ms
	Timeout   time.Duration     // of one scrape; default 2 s
	OnSample  func(t time.Time) // may be nil
	Now       func() time.Time  // default Clock()
}

// Run scrapes until ctx ends, and returns when everything it started has,
// except a Fetch that ignores its context for a second.
func (s *Scraper) Run(ctx context.Context) {
	interval, now := cmp.Or(s.Interval, 200*time.Millisecond), s.Now
	if now == nil {
		now = Clock()
	}
	var running sync.WaitGroup
	defer running.Wait()
	sampled := make(chan time.Time, 1)
	running.Go(func() { s.callback(ctx, sampled) })
	notify := func() {
		select {
		case sampled <- now():
		default: // one is waiting already, and will see this sample too
		}
	}

	busy, events := make([]bool, len(s.Endpoints)), make(chan event, 2*len(s.Endpoints))
	ticker, late := time.NewTicker(interval), time.NewTimer(interval/2)
	defer ticker.Stop()
	defer late.Stop()
	round, pending, called := 0, 0, false
	start := func() {
		round, pending, called = round+1, 0, false
		late.Reset(interval / 2)
		for i, ep := range s.Endpoints {
			if busy[i] {
				continue
			}
			busy[i] = true
			pending++
			e := event{endpoint: i, round: round}
			running.Go(func() { s.scrape(ctx, ep, now, e, events) })
		}
	}
	for start(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			start()
		case <-late.C:
			if !called {
				called = true
				notify()
			}
		case e := <-events:
			if e.idle {
				busy[e.endpoint] = false
				continue
			}
			if e.round == round && !called {
				if pending--; pending > 0 {
					continue
				}
				called = true
			}
			notify()
		}
	}
}

// event is news of one scrape: the store has its outcome, or, with idle, the
// endpoint may be scraped again.
type event struct {
	endpoint, round int
	idle            bool
}

func (s *Scraper) callback(ctx context.Context, sampled <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-sampled:
			if s.OnSample != nil {
				s.OnSample(t)
			}
		}
	}
}

type fetched struct {
	contentType string
	body        []byte
	err         error
}

// scrape reads one endpoint. A sample is dated when it was read, not when it
// was asked for: nothing is ever added to the past, so that a query at a moment
// gives later what it gave then.
func (s *Scraper) scrape(ctx context.Context, ep Endpoint, now func() time.Time, e event, events chan<- event) {
	timeout := cmp.Or(s.Timeout, 2*time.Second)
	limited, cancel := context.WithTimeout(ctx, timeout)
	answer := make(chan fetched, 1)
	go func() {
		defer cancel()
		answer <- s.fetch(limited, ep.Name)
	}()
	var got fetched
	returned := true
	select {
	case got = <-answer:
	case <-limited.Done():
		select {
		case got = <-answer: // both at once: the answer counts
		default:
			returned = false
			got.err = limited.Err()
		}
	}
	if ctx.Err() != nil { // the run is over, which says nothing of the endpoint
		if !returned {
			await(answer, time.Second)
		}
		return
	}
	if got.err == nil {
		// An error counts as a failed scrape, and Sources has it.
		_, _ = s.Store.Ingest(ep.Name, now(), got.contentType, bytes.NewReader(got.body), ep.Labels)
	} else {
		if errors.Is(got.err, context.DeadlineExceeded) {
			got.err = fmt.Errorf("no answer within %s", timeout)
		}
		s.Store.Fail(ep.Name, now(), got.err)
	}
	events <- e
	if !returned { // a Fetch that ignores its context: never two of them
		select {
		case <-answer:
		case <-ctx.Done():
			await(answer, time.Second)
			return
		}
	}
	e.idle = true
	events <- e
}

// await gives a Fetch whose context has ended the time to notice.
func await(answer <-chan fetched, grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-answer:
	case <-timer.C:
	}
}

func (s *Scraper) fetch(ctx context.Context, target string) (f fetched) {
	defer func() {
		if r := recover(); r != nil {
			f.err = fmt.Errorf("fetch panicked: %v", r)
		}
	}()
	f.contentType, f.body, f.err = s.Fetch(ctx, target)
	return f
}

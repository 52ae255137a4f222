package sli

import (
	"fmt"
	"sync"
	"time"
)

// pacer decides when the next arrival is due: number n at start + n/rate,
// whatever the target does. It is a vegeta.Pacer that waits by itself, because
// vegeta sleeps out a wait that nothing can interrupt (20 s at 0.05/s).
//
// Two things can keep it from sending, and neither is hidden: at the cap on
// requests in flight an arrival is skipped rather than sent late (late
// arrivals would be a closed model, and would come back as a burst), and after
// the runner itself stood still (SIGSTOP, a frozen VM) the arrivals of that time
// are skipped too. A skipped arrival is a result that is not known.
type pacer struct {
	rate  float64 // arrivals a second
	cap   int64   // requests in flight
	stop  <-chan struct{}
	now   func() time.Time
	full  func() bool // no room for more results
	skip  func(due time.Time, why string)
	event func(string)

	mu       sync.Mutex // guards inFlight; the rest belongs to the pacing goroutine
	inFlight int64

	start   time.Time
	n       int64 // arrivals due so far
	skipped int64 // in the present episode at the cap
}

// standstill is the lag from which on arrivals are skipped, not caught up with.
const standstill = time.Second

// Pace waits for the next arrival. It implements vegeta.Pacer.
func (p *pacer) Pace(time.Duration, uint64) (time.Duration, bool) {
	if p.start.IsZero() {
		p.start = p.now()
	}
	for {
		due := p.due(p.n)
		if !p.wait(due) || p.full() {
			return 0, true
		}
		p.n++
		switch lag := p.now().Sub(due); {
		case lag > standstill:
			p.standstill(due, lag)
		case p.take():
			if p.skipped > 0 {
				p.event(fmt.Sprintf("%d arrivals were not sent at the cap of %d requests in flight", p.skipped, p.cap))
				p.skipped = 0
			}
			return 0, false
		default:
			if p.skipped++; p.skipped == 1 {
				p.event(fmt.Sprintf("%d requests are in flight, the cap: arrivals are not sent until some end", p.cap))
			}
			p.skip(due, fmt.Sprintf("not sent: %d in flight", p.cap))
		}
	}
}

func (p *pacer) due(n int64) time.Time {
	return p.start.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
}

// wait returns false when told to stop.
func (p *pacer) wait(due time.Time) bool {
	select {
	case <-p.stop:
		return false
	default:
	}
	d := due.Sub(p.now())
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.stop:
		return false
	}
}

// standstill skips what was due while the runner itself did not run.
func (p *pacer) standstill(due time.Time, lag time.Duration) {
	count := 0
	for now := p.now(); due.Before(now) && !p.full(); due = p.due(p.n - 1) {
		p.skip(due, "not sent: the runner stood still")
		p.n++
		count++
	}
	p.n-- // this one is not due yet
	p.event(fmt.Sprintf("the runner stood still for %s: %d arrivals were not sent", lag.Round(time.Millisecond), count))
}

func (p *pacer) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight >= p.cap {
		return false
	}
	p.inFlight++
	return true
}

func (p *pacer) release() {
	p.mu.Lock()
	p.inFlight--
	p.mu.Unlock()
}

func (p *pacer) count() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inFlight
}

// Rate implements vegeta.Pacer.
func (p *pacer) Rate(time.Duration) float64 { return p.rate }

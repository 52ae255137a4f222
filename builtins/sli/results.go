package sli

import (
	"fmt"
	"sync"
	"time"
)

// outcome is what became of an arrival.
type outcome uint8

const (
	failed  outcome = iota
	ok              // an expected status, and the whole body within the timeout
	unknown         // not known: never sent (the cap), or cut off by the runner's own end
)

func (o outcome) String() string { return [...]string{"failed", "ok", "unknown"}[o] }

// result is one arrival, in 24 bytes. Times are nanoseconds.
type result struct {
	sent    int64 // Unix
	latency int64 // until the last byte of the body, or the error
	seq     uint32
	code    uint16 // HTTP status; 0 where no whole answer came
	outcome outcome
	err     uint8 // index into Results.errs
}

func (r result) done() int64 { return r.sent + r.latency }

// resultBlock keeps the time spans of its results, so that a window touches
// only the blocks it overlaps. Results come in the order of their completion,
// nearly: that order is not relied on.
type resultBlock struct {
	results          []result
	sentFrom, sentTo int64
	doneFrom, doneTo int64
}

const resultsPerBlock = 512

// Results holds every request of one traffic or probe, compactly: 24 bytes
// each, and at most 255 distinct error texts. It is safe for concurrent use.
//
// Which window a request belongs to depends on who asks. The live watcher
// takes the window in which it completed: before that nothing is known of it,
// and a window by the time of sending would be missing its slowest requests
// just when they matter, and look better than it is. The verdict takes the
// window in which it was sent: the fault acted on the requests sent while it
// was in, whenever they ended. By then all have ended; one that has not counts
// as not known, neither good nor bad.
type Results struct {
	name   string
	period time.Duration // between two arrivals
	limit  int64

	mu       sync.RWMutex
	blocks   []*resultBlock
	n        int64
	errs     []string
	errIndex map[string]uint8
	flight   map[uint32]int64 // seq → sent, of what has not ended
	started  int64            // Unix ns, 0 before
	lastDone int64            // newest completion of a known outcome, Unix ns
	totals   totals
}

func newResults(name string, period time.Duration, limit int64, bounds []float64) *Results {
	return &Results{
		name: name, period: period, limit: limit,
		errs: []string{""}, errIndex: map[string]uint8{"": 0},
		flight: map[uint32]int64{},
		totals: newTotals(bounds),
	}
}

// begin remembers that a request is on its way.
func (rs *Results) begin(seq uint32, sent int64) {
	rs.mu.Lock()
	rs.flight[seq] = sent
	rs.mu.Unlock()
}

// record adds what became of an arrival.
func (rs *Results) record(r result, errText string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r.seq != noSeq {
		delete(rs.flight, r.seq)
	}
	r.err = rs.intern(errText)
	b := rs.tail()
	if len(b.results) == 0 {
		b.sentFrom, b.sentTo, b.doneFrom, b.doneTo = r.sent, r.sent, r.done(), r.done()
	}
	b.results = append(b.results, r)
	b.sentFrom, b.sentTo = min(b.sentFrom, r.sent), max(b.sentTo, r.sent)
	b.doneFrom, b.doneTo = min(b.doneFrom, r.done()), max(b.doneTo, r.done())
	rs.n++
	if r.outcome != unknown {
		rs.lastDone = max(rs.lastDone, r.done())
	}
	rs.totals.add(r)
}

// noSeq is the seq of an arrival that was never sent.
const noSeq = 1<<32 - 1

func (rs *Results) tail() *resultBlock {
	if n := len(rs.blocks); n > 0 && len(rs.blocks[n-1].results) < resultsPerBlock {
		return rs.blocks[n-1]
	}
	b := &resultBlock{results: make([]result, 0, resultsPerBlock)}
	rs.blocks = append(rs.blocks, b)
	return b
}

const maxErrs = 255

func (rs *Results) intern(text string) uint8 {
	if i, ok := rs.errIndex[text]; ok {
		return i
	}
	if len(rs.errs) >= maxErrs {
		text = "another error"
		if i, ok := rs.errIndex[text]; ok {
			return i
		}
	}
	rs.errs = append(rs.errs, text)
	rs.errIndex[text] = uint8(len(rs.errs) - 1)
	return rs.errIndex[text]
}

func (rs *Results) full() bool {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	return rs.n >= rs.limit
}

// completed calls f for what ended in (start, end].
func (rs *Results) completed(w Window, f func(result)) {
	from, to := w.Start.UnixNano(), w.End.UnixNano()
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	for _, b := range rs.blocks {
		if b.doneTo <= from || b.doneFrom > to {
			continue
		}
		for _, r := range b.results {
			if d := r.done(); d > from && d <= to {
				f(r)
			}
		}
	}
}

// sent calls f for what was sent in [start, end) and has ended, and pending
// with the time of sending for what has not.
func (rs *Results) sent(w Window, f func(result), pending func(sent int64)) {
	from, to := w.Start.UnixNano(), w.End.UnixNano()
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	for _, b := range rs.blocks {
		if b.sentTo < from || b.sentFrom >= to {
			continue
		}
		for _, r := range b.results {
			if r.sent >= from && r.sent < to {
				f(r)
			}
		}
	}
	for _, sent := range rs.flight {
		if sent >= from && sent < to {
			pending(sent)
		}
	}
}

// fresh says for how long a completion has been overdue, and why.
func (rs *Results) fresh(now time.Time) (time.Duration, string) {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	last, what := rs.lastDone, "no request of %s ended since %s; %d in flight"
	if last == 0 {
		last, what = rs.started, "no request of %s has ended yet, %s after its start; %d in flight"
	}
	if last == 0 {
		return Never, fmt.Sprintf("%s has not been started", rs.name)
	}
	gap := time.Duration(now.UnixNano() - last)
	if overdue := gap - rs.period; overdue > 0 {
		return overdue, fmt.Sprintf(what, rs.name, ago(gap.Milliseconds()), len(rs.flight))
	}
	return 0, ""
}

package catalog

import "sync/atomic"

// breaker opens after threshold failures in a row, so that a dead catalogue does not cost every customer the
// deadline. It has no half-open state in which some customer's request is the trial: the background refresh asks the
// catalogue all the time anyway, and its first success closes the breaker.
type breaker struct {
	threshold int64
	failures  atomic.Int64
}

func (b *breaker) open() bool { return b.failures.Load() >= b.threshold }

func (b *breaker) report(ok bool) {
	if ok {
		b.failures.Store(0)
		return
	}
	b.failures.Add(1)
}

package emulate

import "time"

// A Queue gives back what was put in by time; of equal times, what came first.
// It is a heap of values: with container/heap each packet would be allocated.
type Queue[T any] struct {
	heap []entry[T]
	seq  uint64
}

type entry[T any] struct {
	at    time.Duration
	seq   uint64
	value T
}

func (e *entry[T]) before(o *entry[T]) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// Len is how many are in.
func (q *Queue[T]) Len() int { return len(q.heap) }

// Next is the earliest time; false if there is none.
func (q *Queue[T]) Next() (time.Duration, bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].at, true
}

// Put puts a value in.
func (q *Queue[T]) Put(at time.Duration, value T) {
	q.seq++
	q.heap = append(q.heap, entry[T]{at, q.seq, value})
	h := q.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

// Take takes out the earliest, of at least one.
func (q *Queue[T]) Take() T {
	h := q.heap
	top, last := h[0].value, len(h)-1
	h[0], h[last] = h[last], entry[T]{} // a value may be large
	h = h[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if h[child].before(&h[least]) {
				least = child
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	q.heap = h
	return top
}

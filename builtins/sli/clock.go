package sli

import "time"

// Clock returns wall-clock time that never steps back: the wall clock is read
// once and moved on by the monotonic clock. A run uses one Clock throughout,
// so that an NTP step in its middle neither reorders samples nor stretches a window.
func Clock() func() time.Time {
	start := time.Now()
	return func() time.Time { return start.Add(time.Since(start)) }
}

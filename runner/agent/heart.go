package agent

import (
	"sync"
	"sync/atomic"
	"time"
)

// silence is how long a supervisor may say nothing unless told otherwise.
const silence = 3 * time.Second

// A heart notices that the supervisor's watcher has stopped beating. It wakes
// once a period, not once a beat.
type heart struct {
	last atomic.Int64 // of the boot clock

	mu    sync.Mutex
	every time.Duration
	alarm *alarm
	ended bool
}

func (h *heart) beat() { h.last.Store(int64(bootTime())) }

// arm starts listening; silent is called once.
func (h *heart) arm(every time.Duration, silent func()) {
	if every <= 0 {
		every = silence
	}
	h.beat()
	h.mu.Lock()
	h.every = every
	h.mu.Unlock()
	h.wait(every, silent)
}

func (h *heart) wait(d time.Duration, silent func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	h.alarm = setAlarm(d, func() {
		if left := h.left(); left > 0 {
			h.wait(left, silent)
			return
		}
		silent()
	})
}

// left is the time until the silence has lasted too long.
func (h *heart) left() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(h.last.Load()) + h.every - bootTime()
}

// stop ends the listening.
func (h *heart) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.alarm.stop()
}

// beating says whether there is a supervisor that lives.
func (h *heart) beating() bool { return h.period() > 0 && h.left() > 0 }

// period is the silence that would be too long; 0 if nobody listens for it.
func (h *heart) period() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.every
}

package nfqueue

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
)

// A loop is the thread that reads the queues and lets packets go in time.
type loop struct {
	shapers [2]*shaper // out, in
	again   *injector
	inbox   *inbox
	lines   *lines
	began   time.Time
	wake    int // an eventfd: a task has come, or the end

	tasks chan func()
	ended chan struct{}
	stop  atomic.Bool
	lost  chan error

	spare time.Duration // that may yet be spun
	then  time.Duration // when it was reckoned

	since time.Duration // packets are counted
	came  int           // since then
	thick bool          // many came in the span before

	mu   sync.Mutex
	seen [2]netem.Stats // when they were last asked for
}

const burst = 1024 // packets let go in one turn

// newLoop makes the queues. The caller is in the namespace.
func newLoop(priority uint32) (*loop, error) {
	l := &loop{began: time.Now(), wake: -1, tasks: make(chan func(), 1), ended: make(chan struct{}), lost: make(chan error, 1)}
	err := func() (err error) {
		if l.again, err = newInjector(priority); err != nil {
			return err
		}
		for i := range l.shapers {
			q, err := openQueue()
			if err != nil {
				return err
			}
			s := &shaper{q: q, again: l.again, clock: l.now, copies: i == 0}
			q.arrived = s.arrive
			l.shapers[i] = s
		}
		if l.lines, err = openLines(); err != nil {
			return err
		}
		if l.inbox, err = newInbox(); err != nil {
			return err
		}
		l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		return err
	}()
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *loop) now() time.Duration { return time.Since(l.began) }

func (l *loop) close() {
	for _, s := range l.shapers {
		if s != nil {
			s.q.close()
		}
	}
	if l.again != nil {
		l.again.close()
	}
	if l.inbox != nil {
		l.inbox.close()
	}
	if l.lines != nil {
		_ = l.lines.file.Close() // nothing was written to it
	}
	if l.wake >= 0 {
		_ = unix.Close(l.wake) // ours alone
	}
}

// run is the thread. It ends when it is stopped, or when a queue fails.
func (l *loop) run() {
	runtime.LockOSThread() // never unlocked: the thread ends too, with what is set here
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20) // better so, but not needed
	defer close(l.ended)
	defer l.close()
	defer func() { _ = l.publish() }()
	for !l.stop.Load() {
		if err := l.turn(); err != nil {
			l.lost <- fmt.Errorf("nfqueue: %w", err)
			return
		}
	}
}

// turn lets go what is due, and waits for what comes.
func (l *loop) turn() error {
	now, next := l.now(), time.Duration(-1)
	for _, s := range l.shapers {
		s.release(now, burst)
		s.tell() // of what came during an update
		if err := s.q.flush(); err != nil {
			return err
		}
		if at, ok := s.held.Next(); ok && (next < 0 || at < next) {
			next = at
		}
	}
	ready, err := l.wait(next)
	if err != nil {
		return err
	}
	for i, s := range l.shapers {
		if ready[i] {
			n, err := l.read(s)
			if err != nil {
				return err
			}
			l.count(n)
			if l.thick && n < letters/2 && s.held.Len() > letters {
				l.gather(s.patience)
			}
		}
	}
	select {
	case task := <-l.tasks:
		task()
	default:
	}
	return nil
}

// read takes the packets that have come.
func (l *loop) read(s *shaper) (n int, err error) {
	if n, err = l.inbox.read(s.q); err != nil {
		return 0, err
	}
	for i := range n {
		if _, err := s.q.take(l.inbox.letter(i)); err != nil {
			return 0, err
		}
	}
	s.tell()
	return n, s.q.flush()
}

// do runs a task on the thread.
func (l *loop) do(task func() error) error {
	done := make(chan error, 1)
	select {
	case l.tasks <- func() { done <- task() }:
	case <-l.ended:
		return errEnded
	}
	l.rouse()
	select {
	case err := <-done:
		return err
	case <-l.ended:
		return errEnded
	}
}

var errEnded = errors.New("nfqueue: it has ended")

func (l *loop) rouse() {
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full is as good
}

// publish lets others see the counts. It never fails.
func (l *loop) publish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range l.shapers {
		l.seen[i] = s.stats
		l.seen[i].Held = s.held.Len()
		if s.stats.Delayed > 0 {
			l.seen[i].MeanDelay = s.slept / time.Duration(s.stats.Delayed)
		}
	}
	l.seen[0].Overflowed += l.again.lost
	return nil
}

// letAllGo reads and lets go of everything, in its order. It pauses now and
// then, so that receivers keep up.
func (l *loop) letAllGo() error {
	const pause = 50 * time.Microsecond
	for more := true; more; {
		more = false
		for _, s := range l.shapers {
			n, err := l.read(s)
			if err != nil {
				return err
			}
			let := s.release(never, letters)
			if err := s.q.flush(); err != nil {
				return err
			}
			more = more || n > 0 || let > 0
		}
		time.Sleep(pause)
	}
	return nil
}

const never = time.Duration(1<<63 - 1)

package agent

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the time since boot with suspends counted: a laptop that slept
// for an hour was silent for an hour.
func bootTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Since(started)
	}
	return time.Duration(t.Nano())
}

var started = time.Now()

// An alarm calls a function once, after a time on the boot clock.
type alarm struct {
	once  sync.Once
	timer *time.Timer // where the kernel gave no timerfd
	file  *os.File
}

func setAlarm(after time.Duration, ring func()) *alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err == nil {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(after, 1).Nanoseconds())}
		if err = unix.TimerfdSettime(fd, 0, &spec, nil); err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil { // out of descriptors: without suspends is better than not at all
		return &alarm{timer: time.AfterFunc(after, ring)}
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "timerfd")}
	go func() {
		var fired [8]byte
		_, err := a.file.Read(fired[:])
		a.stop()
		if err == nil { // else stopped
			ring()
		}
	}()
	return a
}

func (a *alarm) stop() {
	if a == nil {
		return
	}
	a.once.Do(func() {
		if a.timer != nil {
			a.timer.Stop()
		} else {
			_ = a.file.Close() // a clock holds nothing to lose
		}
	})
}

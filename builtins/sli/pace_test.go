package sli

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// These run on synctest's clock: they take no time and depend on none.

func newTestPacer(rate float64, cap int64) (p *pacer, stop chan struct{}, skipped *[]string, events *[]string) {
	stop, skipped, events = make(chan struct{}), &[]string{}, &[]string{}
	begin := time.Now()
	p = &pacer{rate: rate, cap: cap, stop: stop, now: time.Now, full: func() bool { return false }}
	p.skip = func(due time.Time, why string) {
		*skipped = append(*skipped, fmt.Sprintf("%s: %s", due.Sub(begin), why))
	}
	p.event = func(s string) { *events = append(*events, s) }
	return
}

func TestPacerKeepsItsRate(t *testing.T) {
	for _, rate := range []float64{0.05, 1, 3, 40, 1000.5} {
		synctest.Test(t, func(t *testing.T) {
			p, _, _, _ := newTestPacer(rate, 1e9)
			begin := time.Now()
			for n := range 1000 {
				if wait, stop := p.Pace(0, 0); wait != 0 || stop {
					t.Fatal("stopped")
				}
				want := time.Duration(float64(n) / rate * 1e9)
				if got := time.Since(begin); got < want || got > want+time.Microsecond {
					t.Fatalf("%v/s: arrival %d came after %s, want %s", rate, n, got, want)
				}
			}
		})
	}
}

func TestPacerStopsWithinAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop, _, _ := newTestPacer(0.001, 10)
		p.Pace(0, 0)
		begin := time.Now()
		time.AfterFunc(time.Second, func() { close(stop) })
		if _, stopped := p.Pace(0, 0); !stopped || time.Since(begin) != time.Second {
			t.Errorf("stopped: %v, after %s; want it after 1s", stopped, time.Since(begin))
		}
	})
}

// At the cap arrivals are skipped when they are due: not late, and no burst.
func TestPacerAtTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, skipped, events := newTestPacer(10, 2)
		begin := time.Now()
		time.AfterFunc(450*time.Millisecond, p.release)
		p.Pace(0, 0)
		p.Pace(0, 0)
		p.Pace(0, 0)
		if got := time.Since(begin); got != 500*time.Millisecond {
			t.Errorf("the next arrival came after %s, want 500ms", got)
		}
		if want := "[200ms: not sent: 2 in flight 300ms: not sent: 2 in flight 400ms: not sent: 2 in flight]"; fmt.Sprint(*skipped) != want {
			t.Errorf("got %v, want %v", *skipped, want)
		}
		if len(*events) != 2 || !strings.Contains((*events)[0], "2 requests are in flight, the cap") || !strings.Contains((*events)[1], "3 arrivals were not sent") {
			t.Errorf("got %q, want the episode's begin and end", *events)
		}
		if p.count() != 2 {
			t.Errorf("got %d in flight, want 2", p.count())
		}
	})
}

// After a SIGSTOP the arrivals of the standstill are not fired all at once.
func TestPacerAfterAStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, skipped, events := newTestPacer(10, 1000)
		begin := time.Now()
		p.Pace(0, 0)
		time.Sleep(10*time.Second + 50*time.Millisecond) // as if stopped
		p.Pace(0, 0)
		if got := time.Since(begin); got != 10*time.Second+100*time.Millisecond {
			t.Errorf("the next arrival came after %s, want 10.1s", got)
		}
		if len(*skipped) != 100 || !strings.Contains((*events)[0], "stood still for 9.95s: 100 arrivals were not sent") {
			t.Errorf("got %d skipped, %q", len(*skipped), *events)
		}
		// A lag of less than a second is caught up with.
		time.Sleep(500 * time.Millisecond)
		for range 5 {
			p.Pace(0, 0)
		}
		if got := time.Since(begin); got != 10*time.Second+600*time.Millisecond || len(*skipped) != 100 {
			t.Errorf("got %s and %d skipped, want it to have caught up", got, len(*skipped))
		}
	})
}

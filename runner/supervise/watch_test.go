package supervise

import (
	"testing"
	"time"

	"chaosrunner/builtins/sli"
	"chaosrunner/builtins/spec"
)

func ptr(v float64) *float64 { return &v }

func ok(v float64) reading { return reading{Value: sli.Value{V: v, OK: true}} }

func none(overdue time.Duration) reading {
	return reading{Value: sli.Value{Why: "no data"}, overdue: overdue, late: "late"}
}

func stale(v float64, overdue time.Duration) reading {
	r := ok(v)
	r.overdue, r.late = overdue, "late"
	return r
}

// TestCondition feeds readings 200 ms apart; fires is the index at which the
// condition must fire, -1 for never.
func TestCondition(t *testing.T) {
	const never = -1
	times := func(n int, r reading) (all []reading) {
		for range n {
			all = append(all, r)
		}
		return all
	}
	join := func(parts ...[]reading) (all []reading) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for name, c := range map[string]struct {
		abort    spec.Abort
		readings []reading
		fires    int
		blind    bool
	}{
		"good":                          {spec.Abort{Below: ptr(0.9)}, times(50, ok(1)), never, false},
		"exactly at the threshold":      {spec.Abort{Below: ptr(0.9)}, times(50, ok(0.9)), never, false},
		"bad, at once":                  {spec.Abort{Below: ptr(0.9)}, times(1, ok(0.89)), 0, false},
		"bad for a second":              {spec.Abort{Below: ptr(0.9), Lasting: time.Second}, times(10, ok(0)), 5, false},
		"above":                         {spec.Abort{Above: ptr(2), Lasting: time.Second}, times(10, ok(3)), 5, false},
		"bad, interrupted by good":      {spec.Abort{Below: ptr(0.9), Lasting: time.Second}, join(times(4, ok(0)), times(1, ok(1)), times(4, ok(0))), never, false},
		"bad, interrupted by no data":   {spec.Abort{Below: ptr(0.9), Lasting: time.Second}, join(times(4, ok(0)), times(1, none(0)), times(4, ok(0))), 5, false},
		"no data for less than 3 s":     {spec.Abort{Below: ptr(0.9)}, join(times(15, none(0)), times(10, ok(1))), never, false},
		"no data for 3 s":               {spec.Abort{Below: ptr(0.9)}, times(20, none(0)), 15, true},
		"a source dead for 3 s":         {spec.Abort{Below: ptr(0.9)}, []reading{stale(1, time.Second), stale(1, 3*time.Second)}, 1, true},
		"a source late again and again": {spec.Abort{Below: ptr(0.9)}, join(times(10, stale(1, time.Second)), times(1, ok(1)), times(10, stale(1, time.Second))), never, false},
		"never any data":                {spec.Abort{Below: ptr(0.9)}, times(20, none(sli.Never)), 15, true},
	} {
		t.Run(name, func(t *testing.T) {
			cond := &condition{Abort: c.abort}
			fired, blind := -1, false
			for i, r := range c.readings {
				if a := cond.judge(r, time.Unix(0, 0).Add(time.Duration(i)*200*time.Millisecond)); a != nil {
					fired, blind = i, a.Blind
					break
				}
			}
			if fired != c.fires || blind != c.blind {
				t.Errorf("fired at reading %d, blind %v; want %d, %v", fired, blind, c.fires, c.blind)
			}
		})
	}
}

// TestKnown: a quantile in a histogram's last bucket says nothing of what is
// above that.
func TestKnown(t *testing.T) {
	last := sli.Value{V: 10, OK: true, AtLeast: true}
	if v := (&condition{Abort: spec.Abort{Above: ptr(12)}}).known(last); v.OK || v.Why == "" {
		t.Errorf("got %+v, want no value: it may be 11 or 13", v)
	}
	if v := (&condition{Abort: spec.Abort{Above: ptr(9)}}).known(last); !v.OK {
		t.Errorf("got %+v, want the value: it is above 9 whatever it is", v)
	}
}

func TestFaultTime(t *testing.T) {
	fault := func(d time.Duration) spec.Step { return spec.Step{Op: "fault", Fault: &spec.Fault{Duration: d}} }
	observe := func(d time.Duration) spec.Step { return spec.Step{Op: "observe", Duration: d} }
	radius := spec.BlastRadius{Duration: time.Minute}
	for name, c := range map[string]struct {
		steps []spec.Step
		want  time.Duration
	}{
		"none":                       {[]spec.Step{observe(time.Second)}, 0},
		"a duration":                 {[]spec.Step{fault(25 * time.Second)}, 25 * time.Second},
		"until the end of method":    {[]spec.Step{observe(5 * time.Second), fault(0), observe(10 * time.Second)}, 10 * time.Second},
		"two that overlap":           {[]spec.Step{fault(10 * time.Second), observe(5 * time.Second), fault(10 * time.Second)}, 15 * time.Second},
		"never more than the radius": {[]spec.Step{fault(0), observe(time.Hour)}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if got := faultTime(spec.Experiment{BlastRadius: radius, Steps: c.steps}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestEvidence: the log must not tell where on this machine it was written.
func TestEvidence(t *testing.T) {
	dir, err := absolute("runs", "r1")
	if err != nil {
		t.Fatal(err)
	}
	if got := evidence(dir, "CHAOS_LOG.md"); got != "runs/r1" {
		t.Errorf("got %s, want runs/r1", got)
	}
}

func TestFileName(t *testing.T) {
	if got := fileName("../a b/ü"); got != "___a_b__" {
		t.Errorf("got %q, want nothing that leaves the folder", got)
	}
}

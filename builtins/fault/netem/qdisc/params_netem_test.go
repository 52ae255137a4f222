//go:build netem

package qdisc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netem"
)

const ms = time.Millisecond

// each has every parameter, and how iproute2 shows it.
var each = map[string]struct {
	e    netem.Emulation
	want []string
}{
	"delay":       {netem.Emulation{Delay: 400 * ms}, []string{"delay 400ms"}},
	"limit":       {netem.Emulation{Delay: 400 * ms, Limit: 77}, []string{"limit 77 "}},
	"jitter":      {netem.Emulation{Delay: 400 * ms, Jitter: 50 * ms}, []string{"delay 400ms  50ms"}},
	"correlation": {netem.Emulation{Delay: 400 * ms, Jitter: 50 * ms, Correlation: .25}, []string{"delay 400ms  50ms 25%"}},
	"normal":      {netem.Emulation{Delay: 40 * ms, Jitter: 5 * ms, Distribution: netem.Normal}, []string{"delay 40ms  5ms"}},
	"pareto":      {netem.Emulation{Delay: 40 * ms, Jitter: 5 * ms, Distribution: netem.Pareto}, nil},
	"table":       {netem.Emulation{Delay: 40 * ms, Jitter: 5 * ms, Distribution: netem.OwnTable, Table: []int16{-8192, 8192}}, nil},
	"loss":        {netem.Emulation{Loss: .1}, []string{"loss 10%"}},
	"correlated":  {netem.Emulation{Loss: .1, LossCorrelation: .5}, []string{"loss 10% 50%"}},
	"gemodel": {netem.Emulation{LossModel: &netem.LossModel{GE: &netem.GE{P: .01, R: .2, OneH: .75, OneK: .01}}},
		[]string{"loss gemodel p 1% r 20% 1-h 75% 1-k 1%"}},
	"state": {netem.Emulation{LossModel: &netem.LossModel{State: &netem.State{P13: .01, P31: .3, P32: .2, P23: .4, P14: .02}}},
		[]string{"loss state p13 1% p31 30% p32 20% p23 40% p14 2%"}},
	"duplicate": {netem.Emulation{Duplicate: .05, DuplicateCorrelation: .1}, []string{"duplicate 5% 10%"}},
	"corrupt":   {netem.Emulation{Corrupt: .02, CorruptCorrelation: .1}, []string{"corrupt 2% 10%"}},
	"reorder":   {netem.Emulation{Delay: 10 * ms, Reorder: .25, ReorderCorrelation: .5}, []string{"reorder 25% 50% gap 1"}},
	"gap":       {netem.Emulation{Delay: 10 * ms, Reorder: 1, Gap: 5}, []string{"reorder 100% gap 5"}},
	"rate":      {netem.Emulation{Rate: 1e6, Overhead: 20, CellSize: 100, CellOverhead: 5}, []string{"rate 1Mbit packetoverhead 20 cellsize 100 celloverhead 5"}},
	"wide rate": {netem.Emulation{Rate: 80e9}, []string{"rate 80Gbit"}},
	"slot":      {netem.Emulation{Slot: &netem.Slot{Min: 10 * ms, Max: 20 * ms, Packets: 5, Bytes: 3000}}, []string{"slot 10ms 20ms packets 5 bytes 3000"}},
	"all": {netem.Emulation{Delay: 100 * ms, Jitter: 10 * ms, Correlation: .1, Distribution: netem.ParetoNormal, Loss: .01, LossCorrelation: .2,
		Duplicate: .03, DuplicateCorrelation: .3, Corrupt: .04, CorruptCorrelation: .4, Reorder: .05, ReorderCorrelation: .5, Gap: 3,
		Rate: 2e6, Overhead: -5, Slot: &netem.Slot{Min: ms, Max: 2 * ms}, Limit: 500},
		[]string{"limit 500 ", "delay 100ms  10ms 10%", "loss 1% 20%", "duplicate 3% 30%", "reorder 5% 50%", "corrupt 4% 40%",
			"rate 2Mbit packetoverhead -5", "slot 1ms 2ms", "gap 3"}},
}

// Each parameter is in the kernel, as others see it, and out again.
func TestParameters(t *testing.T) {
	e, a, _ := pair(t)
	before := world(t, a)
	for name, p := range each {
		t.Run(name, func(t *testing.T) {
			must(t, p.e.Validate())
			job := newJob(netem.Filter{Direction: netem.Both}, p.e)
			must(t, e.Can(job.Emulation, job.Filter))
			h, _ := inject(t, e, a, job)
			seen := world(t, a)
			if n := strings.Count(seen, " netem "); n != 2 {
				t.Errorf("got %d netem, want one for each direction, in\n%s", n, seen)
			}
			for _, w := range append(p.want, fmt.Sprintf("limit %d ", p.e.Holds())) {
				if strings.Count(seen, w) != 2 {
					t.Errorf("got no %q for each direction in\n%s", w, seen)
				}
			}
			mustUndo(t, h)
			if after := world(t, a); after != before {
				t.Errorf("got\n%s\nafter the undo, want\n%s", after, before)
			}
		})
	}
}

// What the kernel would cut or ignore is refused, by the parameter's name.
func TestCannot(t *testing.T) {
	e, _, _ := pair(t)
	for _, c := range []struct {
		e    netem.Emulation
		want string
	}{
		{netem.Emulation{Delay: 10 * time.Second, Jitter: 3 * time.Second}, "jitter: got 3s"},
		{netem.Emulation{Delay: ms, Seed: 7}, "seed: the kernel's netem takes one from Linux 6.7 on"}, // this one is 6.1
	} {
		if err := e.Can(c.e, netem.Filter{Direction: netem.Out}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got error %v, want %s…", err, c.want)
		}
	}
}

// Reading back names the parameter that the kernel holds otherwise.
func TestReadsBack(t *testing.T) {
	e, a, _ := pair(t)
	asked := each["all"].e
	h, _ := inject(t, e, a, newJob(netem.Filter{}, asked))
	found, err := h.conn.qdiscs()
	must(t, err)
	var options []byte
	for _, q := range found {
		if q.kind == "netem" {
			options = q.options
		}
	}
	must(t, differs(asked, options))
	for name, change := range map[string]func(*netem.Emulation){
		"delay":     func(e *netem.Emulation) { e.Delay++ },
		"jitter":    func(e *netem.Emulation) { e.Jitter++ },
		"limit":     func(e *netem.Emulation) { e.Limit++ },
		"loss":      func(e *netem.Emulation) { e.Loss = .02 },
		"gap":       func(e *netem.Emulation) { e.Gap++ },
		"duplicate": func(e *netem.Emulation) { e.Duplicate = 0 },
		"corrupt":   func(e *netem.Emulation) { e.Corrupt = .5 },
		"reorder":   func(e *netem.Emulation) { e.ReorderCorrelation = 0 },
		"rate":      func(e *netem.Emulation) { e.Rate = 100e9 },
		"slot":      func(e *netem.Emulation) { e.Slot = &netem.Slot{Min: ms, Max: 3 * ms} },
		"seed":      func(e *netem.Emulation) { e.Seed = 5 },
		"loss_model": func(e *netem.Emulation) {
			e.LossModel = &netem.LossModel{GE: &netem.GE{P: 1}}
		},
		"correlation": func(e *netem.Emulation) { e.Correlation = 1 },
	} {
		other := asked
		change(&other)
		if err := differs(other, options); err == nil || !strings.HasPrefix(err.Error(), name+":") {
			t.Errorf("%s: got error %v, want one that names it", name, err)
		}
	}
}

// A fault that somebody changes or removes is lost, and says so.
func TestLost(t *testing.T) {
	for name, args := range map[string][]string{
		"removed":          {"qdisc", "del", "dev", "eth0", "root"},
		"changed":          {"qdisc", "change", "dev", "eth0", "parent", "HANDLE", "netem", "delay", "1ms"},
		"the interface is": nil,
	} {
		t.Run(name, func(t *testing.T) {
			e, a, _ := pair(t)
			h, _ := inject(t, e, a, newJob(netem.Filter{}, netem.Emulation{Delay: 50 * ms}))
			if args == nil {
				run(t, a, "ip", "link", "del", "eth0")
			} else {
				for i := range args {
					if args[i] == "HANDLE" {
						args[i] = fmt.Sprintf("%x:%x", h.Base, h.Band)
					}
				}
				run(t, a, "tc", args...)
			}
			select {
			case err := <-h.Lost():
				if err == nil {
					t.Error("got no error, want what has happened")
				}
			case <-time.After(patience):
				t.Error("nothing was told")
			}
			mustUndo(t, h)
			if strings.Contains(world(t, a), "netem") {
				t.Error("it is in still")
			}
		})
	}
}

// An undo ends what tells of a loss.
func TestUndoClosesLost(t *testing.T) {
	e, a, _ := pair(t)
	h, _ := inject(t, e, a, newJob(netem.Filter{}, netem.Emulation{Delay: ms}))
	must(t, h.Undo(context.Background()))
	if err, open := <-h.Lost(); open {
		t.Errorf("got %v, want a closed channel", err)
	}
	must(t, h.Undo(context.Background()))
}

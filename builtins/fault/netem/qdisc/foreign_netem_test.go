//go:build netem

package qdisc

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// What somebody has put on an interface is refused by name, before and after
// Prepare, and stays.
func TestForeign(t *testing.T) {
	for name, c := range map[string]struct {
		direction string
		args      string
		shows     string
	}{
		"root":         {netem.Out, "qdisc add dev eth0 root handle 77: pfifo limit 100", "pfifo 77: dev eth0 root"},
		"their netem":  {netem.Out, "qdisc add dev eth0 root handle 1: netem delay 1ms", "netem 1: dev eth0 root"},
		"their prio":   {netem.Both, "qdisc add dev eth0 root handle 5: prio", "prio 5: dev eth0 root"},
		"ingress":      {netem.In, "qdisc add dev eth0 ingress", "ingress ffff: dev eth0"},
		"clsact":       {netem.Both, "qdisc add dev eth0 clsact", "clsact ffff: dev eth0"},
		"their blocks": {netem.In, "qdisc add dev eth0 ingress_block 7 ingress", "ingress ffff: dev eth0"},
	} {
		t.Run(name, func(t *testing.T) {
			e, a, _ := pair(t)
			job := newJob(netem.Filter{Direction: c.direction}, netem.Emulation{Delay: ms})
			early, err := e.Prepare(context.Background(), a.Fd(), job)
			must(t, err)
			before := world(t, a)
			run(t, a, "tc", strings.Fields(c.args)...)
			with := world(t, a)

			if _, err := e.Prepare(context.Background(), a.Fd(), job); err == nil || !strings.Contains(err.Error(), "eth0") {
				t.Errorf("Prepare: got error %v, want one that names eth0", err)
			}
			if _, err := e.Apply(context.Background(), a.Fd(), job, early); err == nil || !strings.Contains(err.Error(), "not ours") {
				t.Errorf("Apply: got error %v, want one that says whose it is", err)
			}
			must(t, e.Undo(context.Background(), a.Fd(), early))
			if after := world(t, a); after != with || !strings.Contains(after, c.shows) {
				t.Errorf("got\n%s\nwant it as it was, with %q:\n%s", after, c.shows, with)
			}
			run(t, a, "tc", strings.Fields(strings.Replace(c.args, " add ", " del ", 1))...)
			if after := world(t, a); after != before {
				t.Errorf("got\n%s\nwant\n%s", after, before)
			}
		})
	}
}

// An undo leaves alone what has come in the place of what was ours.
func TestUndoLeavesForeign(t *testing.T) {
	e, a, _ := pair(t)
	h, record := inject(t, e, a, newJob(netem.Filter{Direction: netem.Both}, netem.Emulation{Delay: ms}))
	run(t, a, "tc", "qdisc", "del", "dev", "eth0", "root")
	run(t, a, "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "77:", "pfifo", "limit", "100")
	run(t, a, "tc", "qdisc", "del", "dev", "eth0", "ingress")
	run(t, a, "tc", "qdisc", "add", "dev", "eth0", "ingress")
	for range 2 {
		must(t, New().Undo(context.Background(), a.Fd(), record))
		seen := world(t, a)
		if !strings.Contains(seen, "pfifo 77:") || !strings.Contains(seen, "ingress ffff:") {
			t.Errorf("got\n%s\nwant theirs", seen)
		}
		if strings.Contains(seen, "chaos") || strings.Contains(seen, "netem") {
			t.Errorf("got\n%s\nwant nothing of ours", seen)
		}
	}
	mustUndo(t, h)
}

// Undo from a record alone, in another process's engine, and again.
func TestUndoByRecord(t *testing.T) {
	for _, direction := range []string{netem.Out, netem.In, netem.Both} {
		e, a, _ := pair(t)
		before := world(t, a)
		job := newJob(netem.Filter{Direction: direction}, netem.Emulation{Delay: ms})
		record, err := e.Prepare(context.Background(), a.Fd(), job)
		must(t, err)
		must(t, e.Undo(context.Background(), a.Fd(), record)) // never applied
		h, err := e.Apply(context.Background(), a.Fd(), job, record)
		must(t, err)
		for range 2 {
			must(t, New().Undo(context.Background(), a.Fd(), record))
			if after := world(t, a); after != before {
				t.Errorf("%s: got\n%s\nafter the undo, want\n%s", direction, after, before)
			}
		}
		mustUndo(t, h)
	}
}

// Faults with disjoint filters do not touch each other, in any order of their
// undos, be it by hand or from the ledger.
func TestDisjoint(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		for name, undo := range map[string]func(a *netns.Namespace, h *held, record json.RawMessage) error{
			"held": func(_ *netns.Namespace, h *held, _ json.RawMessage) error { return h.Undo(context.Background()) },
			"ledger": func(a *netns.Namespace, _ *held, r json.RawMessage) error {
				return New().Undo(context.Background(), a.Fd(), r)
			},
		} {
			e, a, b := pair(t)
			before := world(t, a)
			var lines [3]*line
			var faults [3]*held
			var records [3]json.RawMessage
			for i := range faults {
				lines[i] = echo(t, a, b, scratch.B4, echoPort+i)
				f := netem.Filter{Direction: []string{netem.Out, netem.Both, netem.In}[i], PeerPort: uint16(echoPort + i)}
				faults[i], records[i] = inject(t, e, a, newJob(f, netem.Emulation{Delay: 200 * ms}))
			}
			for n, out := range order {
				must(t, undo(a, faults[out], records[out]))
				lines[out].fast(200 * ms)
				for _, in := range order[n+1:] {
					if took := lines[in].round(); took < 200*ms {
						t.Errorf("%s, %v: fault %d: got a round trip of %v after the undo of %d, want 200ms at least", name, order, in, took, out)
					}
				}
			}
			if after := world(t, a); after != before {
				t.Errorf("%s, %v: got\n%s\nafter all undos, want\n%s", name, order, after, before)
			}
		}
	}
}

// Faults with equal filters do both, until one is out.
func TestEqual(t *testing.T) {
	e, a, b := pair(t)
	before := world(t, a)
	l := echo(t, a, b, scratch.B4, echoPort)
	f := netem.Filter{Direction: netem.Out, Peers: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/32")}}
	one, _ := inject(t, e, a, newJob(f, netem.Emulation{Delay: 100 * ms}))
	two, _ := inject(t, e, a, newJob(f, netem.Emulation{Delay: 200 * ms, Duplicate: 1}))
	if took := l.round(); took < 300*ms {
		t.Errorf("got a round trip of %v, want 300ms at least", took)
	}
	if _, ok := l.receive(patience); !ok {
		t.Error("it came only once")
	}
	if _, err := e.Prepare(context.Background(), a.Fd(), newJob(f, netem.Emulation{Duplicate: .1})); err == nil || !strings.HasPrefix(err.Error(), "duplicate:") {
		t.Errorf("got error %v, want that there is a duplicate already", err)
	}
	must(t, two.Update(context.Background(), f, netem.Emulation{Delay: 300 * ms}))
	if seen := world(t, a); !strings.Contains(seen, "delay 400ms") || strings.Contains(seen, "duplicate") {
		t.Errorf("got\n%s\nwant 400ms, and no duplicate", seen)
	}
	must(t, one.Undo(context.Background()))
	if seen := world(t, a); !strings.Contains(seen, "delay 300ms") {
		t.Errorf("got\n%s\nwant the second's 300ms alone", seen)
	}
	must(t, two.Undo(context.Background()))
	if after := world(t, a); after != before {
		t.Errorf("got\n%s\nafter all undos, want\n%s", after, before)
	}
}

// Two that were prepared before either was in share a place if they are equal,
// and both are out when their records are undone elsewhere.
func TestPreparedTogether(t *testing.T) {
	e, a, _ := pair(t)
	before := world(t, a)
	f := netem.Filter{Direction: netem.In, Protocol: "udp"}
	first, second := newJob(f, netem.Emulation{Delay: ms}), newJob(f, netem.Emulation{Loss: .5})
	var records []json.RawMessage
	for _, job := range []netem.Job{first, second} {
		r, err := e.Prepare(context.Background(), a.Fd(), job)
		must(t, err)
		records = append(records, r)
	}
	for i, job := range []netem.Job{first, second} {
		h, err := e.Apply(context.Background(), a.Fd(), job, records[i])
		must(t, err)
		t.Cleanup(func() { mustUndo(t, h) })
	}
	if seen := world(t, a); strings.Count(seen, " netem ") != 1 || !strings.Contains(seen, "loss 50%") || !strings.Contains(seen, "delay 1ms") {
		t.Errorf("got\n%s\nwant one netem that does both", seen)
	}
	for _, r := range records {
		must(t, New().Undo(context.Background(), a.Fd(), r))
	}
	if after := world(t, a); after != before {
		t.Errorf("got\n%s\nafter all undos, want\n%s", after, before)
	}
}

// There is room for a dozen, and the thirteenth is refused.
func TestFull(t *testing.T) {
	e, a, _ := pair(t)
	before := world(t, a)
	job := func(i int) netem.Job {
		return newJob(netem.Filter{Direction: netem.Out, PeerPort: uint16(7000 + i)}, netem.Emulation{Delay: ms})
	}
	for i := range 100 { // plans that never came
		_, err := e.Prepare(context.Background(), a.Fd(), job(i))
		must(t, err)
	}
	var all []*held
	for i := range lastBand - firstBand + 1 {
		h, _ := inject(t, e, a, job(i))
		all = append(all, h)
	}
	if _, err := e.Prepare(context.Background(), a.Fd(), job(99)); err == nil || !strings.Contains(err.Error(), "room for 12") {
		t.Errorf("got error %v, want that there is no room", err)
	}
	for _, h := range all {
		must(t, h.Undo(context.Background()))
	}
	if after := world(t, a); after != before {
		t.Errorf("got\n%s\nafter all undos, want\n%s", after, before)
	}
}

// A namespace with nothing but loopback is refused.
func TestNoInterface(t *testing.T) {
	ns := scratch.Namespace(t)
	if _, err := New().Prepare(context.Background(), ns.Fd(), newJob(netem.Filter{}, netem.Emulation{Delay: ms})); err == nil {
		t.Error("loopback was taken")
	}
}

package fault

import (
	"context"
	"fmt"
	"time"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netem/probe"
	"chaosrunner/builtins/fault/netns"
)

const (
	quick    = 300 * time.Millisecond // an answer on a network that nothing ails
	tries    = 5                      // probes, before a fault is said not to act
	patient  = 25                     // probes, before a fault is said not to be gone: the machine may be busy
	flows    = 48                     // of a share of all flows: one of 25 % is met with 99.9999 %
	longest  = 5 * time.Second        // a delay beyond this is not waited for
	settling = 2 * time.Second        // for counters to tell, and for traffic to come
)

// A proof measures a network fault from inside the target's namespace, with
// packets that the fault's filter means.
type proof struct {
	probe  *probe.Probe
	why    string        // there is no probe
	before time.Duration // the round trip without the fault
	sent   uint64
}

// newProof looks for a peer that answers, before the fault is in.
func newProof(ns *netns.Namespace, f netem.Filter) *proof {
	p, before, err := probe.Find(ns.Fd(), f)
	if err != nil {
		return &proof{why: err.Error()}
	}
	return &proof{probe: p, before: before}
}

func (p *proof) close() {
	if p != nil && p.probe != nil {
		p.probe.Close()
		p.probe = nil
	}
}

// acts says what is seen of an emulation that is in, or that nothing is.
func (p *proof) acts(ctx context.Context, held netem.Held, f netem.Filter, e netem.Emulation) (Finding, error) {
	first, err := held.Stats()
	if err != nil {
		return Finding{}, err
	}
	if p.probe == nil {
		met, err := met(ctx, held, first.Packets)
		text := fmt.Sprintf("%d packets have met it", met)
		if met == 0 {
			text = "no packet has met it so far"
		}
		return Finding{Text: text + " (" + p.why + ")", Figures: map[string]float64{"packets": float64(met)}}, err
	}
	seen := p.rounds(ctx, held, first.Packets, f, e)
	met, err := met(ctx, held, first.Packets)
	if err != nil {
		return Finding{}, err
	}
	figures := map[string]float64{"before_s": p.before.Seconds(), "probes": float64(seen.sent), "answered": float64(seen.answered), "packets": float64(met)}
	if met == 0 {
		return Finding{}, fmt.Errorf("%d packets to %v that it means, and none has met it", seen.sent, p.probe.Peer())
	}
	if seen.answered == 0 {
		text := fmt.Sprintf("%d packets of %d to %v met it, and none was answered", min(met, uint64(seen.sent)), seen.sent, p.probe.Peer())
		if e.Delay > longest {
			text += " yet"
		}
		return Finding{Text: text, Figures: figures}, nil
	}
	figures["during_s"] = seen.longest.Seconds()
	if want := expected(f, e); seen.longest < want {
		return Finding{}, fmt.Errorf("the round trip to %v takes %s, and took %s before: want %s at least",
			p.probe.Peer(), millis(seen.longest), millis(p.before), millis(want))
	}
	return Finding{Text: fmt.Sprintf("round trip to %v %s, %s before", p.probe.Peer(), millis(seen.longest), millis(p.before)), Figures: figures}, nil
}

// expected is what a delay adds to a round trip at the very least.
func expected(f netem.Filter, e netem.Emulation) time.Duration {
	if e.Delay > longest || e.Reorder > 0 { // not waited for; or sent at once
		return 0
	}
	d := (e.Delay - e.Jitter) / 2
	if e.Distribution != "" && e.Distribution != netem.Uniform {
		d = (e.Delay - 4*e.Jitter) / 2
	}
	if f.Direction == netem.Both {
		d *= 2
	}
	return max(d, 0)
}

// rounds is what became of some probes.
type rounds struct {
	sent, answered int
	longest        time.Duration
}

// rounds sends probes until one shows the emulation.
func (p *proof) rounds(ctx context.Context, held netem.Held, first uint64, f netem.Filter, e netem.Emulation) (r rounds) {
	timeout, most := quick+2*(e.Delay+4*e.Jitter), tries
	if e.Delay > longest {
		timeout = quick
	}
	if f.Partial() > 0 {
		most = flows
	}
	for r.sent < most && ctx.Err() == nil {
		took, ok := p.probe.Round(timeout)
		r.sent++
		p.sent++
		if ok {
			r.answered++
			r.longest = max(r.longest, took)
		}
		now, err := held.Stats()
		if err != nil || now.Packets == first {
			continue // this one was none of the share
		}
		if ok && took >= expected(f, e) || e.Loss == 1 {
			break
		}
	}
	return r
}

// met waits a moment for packets to be counted.
func met(ctx context.Context, held netem.Held, first uint64) (uint64, error) {
	for began := time.Now(); ; {
		s, err := held.Stats()
		if err != nil || s.Packets > first {
			return s.Packets - first, err
		}
		if time.Since(began) > settling {
			return 0, nil
		}
		if !rest(ctx, 50*time.Millisecond) {
			return 0, context.Cause(ctx)
		}
	}
}

// gone says what is seen after an emulation was taken back.
func (p *proof) gone(e netem.Emulation) Finding {
	if p == nil || p.probe == nil {
		return Finding{}
	}
	var shortest time.Duration
	answered := false
	for n := range patient {
		took, ok := p.probe.Round(quick + 2*min(e.Delay+e.Jitter, longest))
		if !ok && n >= tries {
			break
		}
		if ok && (!answered || took < shortest) {
			shortest, answered = took, true
		}
		if ok && !p.late(took, e) {
			break
		}
	}
	if !answered {
		return Finding{Text: fmt.Sprintf("after the undo %v does not answer", p.probe.Peer())}
	}
	return Finding{
		Text:    fmt.Sprintf("round trip to %v %s", p.probe.Peer(), millis(shortest)),
		Figures: map[string]float64{"after_s": shortest.Seconds(), "before_s": p.before.Seconds()},
		Failed:  p.late(shortest, e),
	}
}

// late says that a round trip is as if the delay were in still.
func (p *proof) late(took time.Duration, e netem.Emulation) bool {
	const plain = 50 * time.Millisecond // less may be anything
	return e.Delay > plain && took > p.before+e.Delay/2
}

// accounts is what a fault has done in all its time. probes are our own packets.
func accounts(s netem.Stats, p *proof) Finding {
	f := Finding{Figures: map[string]float64{
		"packets": float64(s.Packets), "dropped": float64(s.Dropped), "overflowed": float64(s.Overflowed),
		"duplicated": float64(s.Duplicated), "corrupted": float64(s.Corrupted), "reordered": float64(s.Reordered),
	}}
	var probes uint64
	if p != nil {
		probes = p.sent
	}
	switch {
	case s.Packets == 0:
		f.Text, f.Failed = "no packet has met it all the while: it has harmed nothing", true
	case s.Packets <= 2*probes:
		f.Text = "hardly a packet but our own probes has met it"
	default:
		f.Text = fmt.Sprintf("%d packets met it", s.Packets)
	}
	for _, part := range []struct {
		n    uint64
		what string
	}{{s.Dropped, "dropped"}, {s.Duplicated, "duplicated"}, {s.Corrupted, "corrupted"}, {s.Reordered, "reordered"}} {
		if part.n > 0 {
			f.Text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	if s.Overflowed > 0 {
		f.Text += fmt.Sprintf(", %d dropped for want of room (see limit)", s.Overflowed)
	}
	if s.Delayed > 0 {
		f.Figures["mean_delay_s"], f.Figures["max_delay_s"] = s.MeanDelay.Seconds(), s.MaxDelay.Seconds()
		f.Text += fmt.Sprintf(", held for %s on average", millis(s.MeanDelay))
	}
	return f
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

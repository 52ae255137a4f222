package fault

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns/scratch"
)

// idle is an emulation that the kernel holds, and that does nothing; where it
// counts, packets seem to meet it.
type idle struct {
	counts bool
	asked  atomic.Uint64
}

func (*idle) Update(context.Context, netem.Filter, netem.Emulation) error { return nil }
func (*idle) Lost() <-chan error                                          { return nil }
func (*idle) Undo(context.Context) error                                  { return nil }

func (i *idle) Stats() (s netem.Stats, err error) {
	if i.counts {
		s.Packets = i.asked.Add(1)
	}
	return s, nil
}

// What does not act is an error, though the kernel holds it: no packet of ours
// meets it, or those that do are not late.
func TestWhatDoesNotActIsFound(t *testing.T) {
	a, _ := scratch.Pair(t)
	f := netem.Filter{Direction: netem.Out, Peers: []netip.Prefix{netip.PrefixFrom(scratch.B4, 32)}}
	p := newProof(a, f)
	defer p.close()
	if p.probe == nil {
		t.Fatalf("no probe: %s", p.why)
	}
	for want, c := range map[string]struct {
		held *idle
		e    netem.Emulation
	}{
		"none has met it": {&idle{}, netem.Emulation{Loss: 0.1}},
		"at least":        {&idle{counts: true}, netem.Emulation{Delay: time.Minute / 20}},
	} {
		if found, err := p.acts(t.Context(), c.held, f, c.e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %+v, %v; want %q", found, err, want)
		}
	}
	// Loss cannot be told from few packets: that they met it is all that is said.
	found, err := p.acts(t.Context(), &idle{counts: true}, f, netem.Emulation{Loss: 0.01})
	if err != nil || found.Figures["packets"] < 1 || found.Failed {
		t.Errorf("got %+v, %v", found, err)
	}
}

// A delay that is still there after the undo is found, one that is gone is not.
func TestWhatIsNotGoneIsFound(t *testing.T) {
	a, _ := scratch.Pair(t)
	f := netem.Filter{Direction: netem.Out, Peers: []netip.Prefix{netip.PrefixFrom(scratch.B4, 32)}}
	p := newProof(a, f)
	defer p.close()
	if found := p.gone(netem.Emulation{Delay: 30 * time.Second}); found.Failed || found.Figures["after_s"] <= 0 {
		t.Errorf("got %+v, want a round trip as before", found)
	}
	p.before = -time.Hour // as if every round trip were late
	if found := p.gone(netem.Emulation{Delay: 100 * time.Millisecond}); !found.Failed {
		t.Errorf("got %+v, want that it is not gone", found)
	}
}

// What the undo of another process needs is all in the JSON.
func TestNetworkRoundTrip(t *testing.T) {
	w := wire{subject: subject{Target: Target{Name: "catalog", ID: "3f2a", StartedAt: "x", PID: 7}}, Boot: "b", Dev: 4, Inode: 5, Sandbox: "/run/x", Shared: "d"}
	peers := []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}
	testRoundTrip(t, "netem", &emulated{
		Netem: Netem{Emulation: netem.Emulation{Delay: time.Second, Jitter: 1, LossModel: &netem.LossModel{GE: &netem.GE{P: 0.1}}}, Peers: []string{"api"}, Direction: "in", Engine: Auto},
		wire:  w, Job: netem.Job{ID: "ab", Filter: netem.Filter{Direction: "in", Peers: peers}}, Used: NFQueue, Record: []byte(`{"table":"x"}`),
	}, HeldByKernel)
	testRoundTrip(t, "netem", &emulated{Netem: Netem{Emulation: netem.Emulation{Delay: 1}}, wire: w, Used: Qdisc}, HeldByNamespace)
	testRoundTrip(t, "partition", &partition{Partition: Partition{Peers: []string{"api"}}, wire: w, Between: netem.Filter{Direction: "both", Peers: peers}, Table: "chaosrunner-1"}, HeldByKernel)
}

func testRoundTrip(t *testing.T, kind string, f Fault, held string) {
	t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Load(kind, raw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(g)
	if err != nil || string(again) != string(raw) {
		t.Errorf("%s: got %s, want %s (%v)", kind, again, raw, err)
	}
	if w := g.Describe(); !strings.Contains(w.Harm, "catalog (3f2a)") || w.Remedy == "" || w.Held != held || g.Mend() == "" || !strings.Contains(w.Warning, "that of d") {
		t.Errorf("%s: got words %+v, %q", kind, w, g.Mend())
	}
}

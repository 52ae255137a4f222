package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
	"chaosrunner/runner/agent/enginetest"
)

// A wired is a world with a network, two containers on it, and what was told.
type wired struct {
	t            testing.TB
	world        fault.World
	target, peer *enginetest.Container

	mu    sync.Mutex
	told  []string
	moved []netip.Addr // where the peer is said to be; nil: where it is
}

func newWired(t *testing.T) *wired {
	t.Helper()
	scratch.Root(t)
	t.Parallel()
	w := &wired{t: t}
	w.target = enginetest.Run(t, enginetest.Options{Network: "bridge"}).Ready()
	w.peer = enginetest.Run(t, enginetest.Options{Network: "bridge"}).Ready()
	w.world = fault.World{Engine: enginetest.Client(t), Wires: fault.NewWires(), Addresses: w.addresses, Tell: func(text string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, text)
	}}
	return w
}

func (w *wired) addresses(_ context.Context, expr string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if expr != "peer" {
		return nil, fmt.Errorf("target %q means nothing", expr)
	}
	if w.moved != nil {
		return w.moved, nil
	}
	return []netip.Addr{w.address(w.peer)}, nil
}

func (w *wired) address(k *enginetest.Container) netip.Addr {
	return netip.MustParseAddr(k.Inspect().NetworkSettings.Networks["bridge"].IPAddress)
}

// inject has a fault in, and takes it back with the test.
func (w *wired) inject(kind, params string) fault.Fault {
	w.t.Helper()
	f, err := w.prepare(kind, params)
	if err == nil {
		err = f.Apply(w.t.Context(), w.world)
	}
	if err != nil {
		w.t.Fatalf("%s %s: %v", kind, params, err)
	}
	w.t.Cleanup(func() { _, _ = f.Undo(context.Background(), w.world, settled) })
	return f
}

func (w *wired) prepare(kind, params string) (fault.Fault, error) {
	w.t.Helper()
	f, err := fault.New(kind, json.RawMessage(params))
	if err != nil {
		w.t.Fatal(err)
	}
	return f, f.Prepare(w.t.Context(), w.world, w.target.Target())
}

// dial connects to the peer from inside the target's namespace, as a program
// there would, and says how long that took.
func (w *wired) dial(timeout time.Duration) (time.Duration, error) {
	w.t.Helper()
	ns, err := netns.OfProcess(w.target.Inspect().State.Pid)
	if err != nil {
		w.t.Fatal(err)
	}
	defer ns.Close() //nolint:errcheck // read only
	var took time.Duration
	return took, ns.Inside(func() error {
		began := time.Now()
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(w.address(w.peer), 8080).String(), timeout)
		took = time.Since(began)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// tables are ours in the target's namespace, as the kernel says.
func (w *wired) tables() []string {
	w.t.Helper()
	ns, err := netns.OfProcess(w.target.Inspect().State.Pid)
	if err != nil {
		w.t.Fatal(err)
	}
	defer ns.Close() //nolint:errcheck // read only
	names, err := nft.List(ns.Fd())
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func (w *wired) undo(f fault.Fault) string {
	w.t.Helper()
	note, err := f.Undo(context.Background(), w.world, settled)
	if err != nil {
		w.t.Fatal(err)
	}
	return note
}

const (
	never = 2 * time.Second  // to be seen not to come
	soon  = 30 * time.Second // to come at all
)

func TestPartition(t *testing.T) {
	w := newWired(t)
	if _, err := w.dial(soon); err != nil {
		t.Fatal(err)
	}
	f := w.inject("partition", `{"peers":["peer"]}`)
	if took, err := w.dial(never); err == nil {
		t.Errorf("under a partition the peer was reached after %v", took)
	}
	found := f.(fault.Witness).Findings()
	if len(found) != 1 || found[0].Figures["dropped"] < 1 {
		t.Errorf("got findings %+v, want that packets were dropped", found)
	}
	wantIn(t, "finding", found[0].Text, "no answer from "+w.address(w.peer).String(), "answered within")
	w.undo(f)
	if _, err := w.dial(soon); err != nil {
		t.Errorf("after the undo: %v", err)
	}
	if left := w.tables(); len(left) != 0 {
		t.Errorf("after the undo there are tables %v", left)
	}
	if found := f.(fault.Witness).Findings(); len(found) != 2 || !strings.Contains(found[0].Text, "dropped") || !strings.Contains(found[1].Text, "round trip") {
		t.Errorf("got findings %+v after the undo", found)
	}
	w.undo(f) // again: no harm
}

// A peer that restarts elsewhere is followed, and told.
func TestPartitionFollowsItsPeer(t *testing.T) {
	w := newWired(t)
	w.moved = []netip.Addr{netip.MustParseAddr("172.17.255.1")} // nobody
	w.inject("partition", `{"peers":["peer"]}`)
	if _, err := w.dial(soon); err != nil {
		t.Fatalf("the peer is elsewhere, and cut off: %v", err)
	}
	w.mu.Lock()
	w.moved = nil
	w.mu.Unlock()
	waitUntil(t, "the peer to be cut off", func() bool { _, err := w.dial(never); return err != nil })
	w.mu.Lock()
	defer w.mu.Unlock()
	wantIn(t, "told", strings.Join(w.told, "\n"), "peers have moved: all packets to and from "+w.address(w.peer).String()+", were", "172.17.255.1")
}

func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(60 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A target that restarts has another network: the fault is lost, and says so;
// its undo has nothing to do.
func TestNetworkFaultIsLostWithItsTarget(t *testing.T) {
	w := newWired(t)
	f := w.inject("partition", `{"peers":["peer"]}`)
	w.target.Kill()
	w.target.Start()
	select {
	case err := <-f.(fault.Fragile).Lost():
		if err == nil || !strings.Contains(err.Error(), "restarted") {
			t.Errorf("got %v, want that the target has restarted", err)
		}
	case <-time.After(soon):
		t.Error("the loss is not told")
	}
	w.undo(f)
	w.target.Ready()
	if _, err := w.dial(soon); err != nil {
		t.Errorf("after the undo: %v", err)
	}
}

// The undo of another process, from the ledger's record alone.
func TestPartitionUndoneElsewhere(t *testing.T) {
	w := newWired(t)
	f, err := w.prepare("partition", `{"peers":["peer"]}`)
	if err != nil {
		t.Fatal(err)
	}
	other := w.world
	other.Wires = fault.NewWires()
	again := reload(t, "partition", f)
	if _, err := again.Undo(t.Context(), other, settled); err != nil {
		t.Errorf("never applied: %v", err)
	}
	w.target.Kill()
	note, err := again.Undo(t.Context(), other, settled)
	if err != nil || !strings.Contains(note, "gone") {
		t.Errorf("target gone: got %q, %v", note, err)
	}
}

func TestNetworkRefuses(t *testing.T) {
	w := newWired(t)
	refuses := func(why, kind, params string, target *enginetest.Container) {
		t.Helper()
		f, err := fault.New(kind, json.RawMessage(params))
		if err != nil {
			t.Fatal(err)
		}
		err = f.Prepare(t.Context(), w.world, target.Target())
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s %s: got %v, want %q", kind, params, err, why)
		}
		if err != nil && !errors.Is(err, fault.ErrRefused) && !strings.Contains(why, "means nothing") {
			t.Errorf("%s %s: %v is no refusal", kind, params, err)
		}
	}
	host := enginetest.Run(t, enginetest.Options{Network: "host", Env: []string{"LISTEN=127.0.0.1:0"}})
	for _, kind := range []string{"netem", "partition"} {
		refuses("host's network namespace", kind, least(kind), host)
	}
	refuses(`target "nobody" means nothing`, "partition", `{"peers":["nobody"]}`, w.target)
	w.mu.Lock()
	w.moved = []netip.Addr{}
	w.mu.Unlock()
	refuses("peer has no address", "partition", `{"peers":["peer"]}`, w.target)
	refuses("peer has no address", "netem", `{"delay":1000000,"peers":["peer"]}`, w.target)
	if left := w.tables(); len(left) != 0 {
		t.Errorf("refused, and there are tables %v", left)
	}
}

// Containers that share a namespace are told of: they are harmed too.
func TestSharedNamespaceIsTold(t *testing.T) {
	w := newWired(t)
	beside := enginetest.Run(t, enginetest.Options{Network: "container:" + w.target.ID, Env: []string{"LISTEN=:8081"}})
	f, err := w.prepare("partition", `{"peers":["peer"]}`)
	if err != nil {
		t.Fatal(err)
	}
	wantIn(t, "warning", f.Describe().Warning, beside.Name)
}

// The way of a connection through the fault: late while it is in, changed
// without a new fault, as before once it is out.
func TestNetem(t *testing.T) {
	w := newWired(t)
	f := w.inject("netem", `{"delay":300000000,"peers":["peer"],"engine":"auto"}`)
	if took, err := w.dial(soon); err != nil || took < 250*time.Millisecond {
		t.Errorf("a connection took %v, %v; want 300 ms at least", took, err)
	}
	found := f.(fault.Witness).Findings()
	if len(found) != 1 || found[0].Figures["during_s"] < 0.25 || found[0].Figures["before_s"] <= 0 {
		t.Errorf("got findings %+v, want a round trip of 300 ms and more", found)
	}
	if err := f.(fault.Updater).Update(t.Context(), w.world, json.RawMessage(`{"delay":700000000,"peers":["peer"],"engine":"auto"}`)); err != nil {
		t.Fatal(err)
	}
	if took, err := w.dial(soon); err != nil || took < 600*time.Millisecond {
		t.Errorf("after the update a connection took %v, %v; want 700 ms at least", took, err)
	}
	for params, why := range map[string]string{
		`{"delay":700000000}`:                   "which packets are meant cannot change",
		`{"jitter":1,"peers":["peer"]}`:         "jitter: got 1ns without a delay",
		`{"delay":1,"peers":["peer"],"port":1}`: "which packets are meant cannot change",
	} {
		if err := f.(fault.Updater).Update(t.Context(), w.world, json.RawMessage(params)); !errors.Is(err, fault.ErrRefused) || !strings.Contains(err.Error(), why) {
			t.Errorf("update %s: got %v, want %q", params, err, why)
		}
	}
	w.undo(f)
	waitUntil(t, "a connection without the delay", func() bool { took, err := w.dial(soon); return err == nil && took < 250*time.Millisecond })
	if left := w.tables(); len(left) != 0 {
		t.Errorf("after the undo there are tables %v", left)
	}
	found = f.(fault.Witness).Findings()
	if len(found) != 3 || found[2].Failed || found[2].Figures["after_s"] <= 0 {
		t.Errorf("got findings %+v, want accounts and a round trip as before", found)
	}
	w.undo(f) // again: no harm
}

// Two faults on one target: those that meet some of the same packets are
// refused, naming the first; those that meet the same, or none, compose.
func TestNetemsCompose(t *testing.T) {
	w := newWired(t)
	w.inject("netem", `{"delay":200000000,"peers":["peer"]}`)
	for _, params := range []string{`{"loss":0.5}`, `{"loss":0.5,"peers":["peer"],"protocol":"tcp"}`, `{"loss":0.5,"peers":["0.0.0.0/0"],"direction":"both"}`} {
		_, err := w.prepare("netem", params)
		if !errors.Is(err, fault.ErrRefused) || !strings.Contains(err.Error(), "netem of "+w.target.Name) || !strings.Contains(err.Error(), "delay 200ms") {
			t.Errorf("%s: got %v, want a refusal that names the first", params, err)
		}
	}
	second := w.inject("netem", `{"delay":300000000,"peers":["peer"]}`)
	w.inject("netem", `{"loss":1,"peers":["192.0.2.0/24"]}`)
	if took, err := w.dial(soon); err != nil || took < 400*time.Millisecond {
		t.Errorf("under both a connection took %v, %v; want 500 ms at least", took, err)
	}
	w.undo(second)
	waitUntil(t, "a connection under the first alone", func() bool {
		took, err := w.dial(soon)
		if err == nil && took < 150*time.Millisecond {
			t.Fatalf("under the first a connection took %v, want 200 ms at least", took)
		}
		return err == nil && took < 450*time.Millisecond
	})
}

// A fault that nothing has met by its end has tested nothing, and says so.
func TestNetemThatNothingMeets(t *testing.T) {
	w := newWired(t)
	f := w.inject("netem", `{"delay":1000000,"peers":["172.17.255.252"]}`)
	if found := f.(fault.Witness).Findings(); len(found) != 1 || found[0].Failed || !strings.Contains(found[0].Text, "no packet has met it so far") {
		t.Errorf("got findings %+v, want that nothing has met it yet", found)
	}
	w.undo(f)
	if found := f.(fault.Witness).Findings(); len(found) != 1 || !found[0].Failed {
		t.Errorf("got findings %+v, want that it has harmed nothing", found)
	}
}

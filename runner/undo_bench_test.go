package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/place"
	"chaosrunner/runner/protocol"
)

// many is how many faults a large run holds.
const many = 50

// A harm is a kind of fault, and the engine's bare calls for it and against it.
type harm struct {
	kind, params string
	do, undo     func(context.Context, *client.Client, string) error
}

var harms = []harm{
	{"kill", `{"stays_down":true}`,
		func(ctx context.Context, c *client.Client, id string) error {
			return c.ContainerKill(ctx, id, "SIGKILL")
		},
		func(ctx context.Context, c *client.Client, id string) error {
			return c.ContainerStart(ctx, id, container.StartOptions{})
		}},
	{"pause", `{}`,
		func(ctx context.Context, c *client.Client, id string) error { return c.ContainerPause(ctx, id) },
		func(ctx context.Context, c *client.Client, id string) error { return c.ContainerUnpause(ctx, id) }},
}

// BenchmarkUndo is a real agent whose supervisor has died, from the end of its
// stdin to its own end with everything undone; in turn with the same calls to the
// engine, made bare and all at once.
func BenchmarkUndo(b *testing.B) {
	path, err := binary()
	if err != nil {
		b.Fatal(err)
	}
	all := containers(b, many)
	for _, h := range harms {
		for _, n := range []int{1, many} {
			b.Run(fmt.Sprintf("%s-%d", h.kind, n), func(b *testing.B) {
				var ours, bare []time.Duration
				for b.Loop() {
					if n > 1 && len(ours) == 3 {
						continue // each takes a minute
					}
					a := hold(b, path, all[:n], h)
					began := time.Now()
					a.end(b)
					ours = append(ours, time.Since(began))
					each(b, all[:n], h.do)
					began = time.Now()
					each(b, all[:n], h.undo)
					bare = append(bare, time.Since(began))
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(ms(median(ours)), "ms-undo")
				b.ReportMetric(ms(median(bare)), "ms-bare")
				if n == 1 {
					b.ReportMetric(ms(median(ours)-median(bare)), "ms-above-bare")
				} else {
					b.ReportMetric(float64(median(ours))/float64(median(bare)), "undo/bare")
				}
			})
		}
	}
}

// BenchmarkIdle is what a real agent costs that holds faults and hears a heart
// beat, in per cent of a core and in memory.
func BenchmarkIdle(b *testing.B) {
	path, err := binary()
	if err != nil {
		b.Fatal(err)
	}
	all := containers(b, many)
	a := hold(b, path, all, harms[1])
	pid := a.welcome.PID
	time.Sleep(2 * time.Second)
	const watched = 10 * time.Second
	before := busy(b, pid)
	time.Sleep(watched)
	used, size := busy(b, pid)-before, rss(pid)
	for b.Loop() { // nothing is measured but the rest
	}
	a.end(b)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(100*float64(used)/float64(watched), "%-of-a-core")
	b.ReportMetric(float64(size)/(1<<20), "MiB")
}

func containers(b *testing.B, n int) []*enginetest.Container {
	all := make([]*enginetest.Container, n)
	for i := range all {
		all[i] = enginetest.Run(b, enginetest.Options{})
	}
	return all
}

// each makes a call for every container, all at once.
func each(b *testing.B, all []*enginetest.Container, call func(context.Context, *client.Client, string) error) {
	b.Helper()
	c := enginetest.Client(b)
	var wait sync.WaitGroup
	for _, k := range all {
		wait.Go(func() { k.Do("bench", func(ctx context.Context) error { return call(ctx, c, k.ID) }) })
	}
	wait.Wait()
}

// A holding is a real agent with faults, and a heart that beats for it.
type holding struct {
	*place.Child
	peer    *protocol.Peer
	welcome protocol.Welcome
}

func hold(b *testing.B, path string, all []*enginetest.Container, h harm) *holding {
	b.Helper()
	child, err := place.StartChild(path)
	if err != nil {
		b.Fatal(err)
	}
	a := &holding{Child: child, peer: protocol.NewPeer(child, child, deaf{})}
	b.Cleanup(func() { a.end(b) })
	go func() { _ = a.peer.Run(context.Background()) }() // calls are told of a broken link
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	hello := protocol.Hello{Run: "bench", Mode: protocol.ModeRun, State: b.TempDir()}
	if err := a.peer.Call(ctx, protocol.CallHello, hello, &a.welcome); err != nil {
		b.Fatal(err)
	}
	go func() {
		for n := uint64(1); a.peer.Call(ctx, protocol.CallHeartbeat, protocol.Beat{N: n}, nil) == nil; n++ {
			time.Sleep(200 * time.Millisecond)
		}
	}()
	var wait sync.WaitGroup
	for i, k := range all {
		in := protocol.Apply{ID: fmt.Sprintf("f%d", i), Kind: h.kind, Params: json.RawMessage(h.params), Target: k.Target(), TTL: time.Hour}
		wait.Go(func() {
			if err := a.peer.Call(ctx, protocol.CallApply, in, nil); err != nil {
				b.Errorf("%s: %v", h.kind, err)
			}
		})
	}
	wait.Wait()
	return a
}

// end is the death of its supervisor; it returns with the agent's own end.
func (a *holding) end(b *testing.B) {
	_ = a.Close() // twice is fine
	select {
	case <-a.Done():
	case <-time.After(5 * time.Minute):
		b.Error("the agent does not end")
		_ = a.Kill()
	}
}

type deaf struct{}

func (deaf) Handle(context.Context, string, json.RawMessage) (any, error) { return nil, nil }
func (deaf) Event(string, json.RawMessage)                                {}

// busy is the time that a process has computed for, of all its threads.
func busy(b *testing.B, pid int) (sum time.Duration) {
	b.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(paths) == 0 {
		b.Fatalf("process %d has no threads (%v)", pid, err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		if fields := strings.Fields(string(raw)); len(fields) > 0 {
			ns, _ := strconv.ParseInt(fields[0], 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

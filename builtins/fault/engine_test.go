package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/enginetest"
)

func TestMain(m *testing.M) {
	enginetest.Main(m)
}

func world(t testing.TB) fault.World {
	return fault.World{Engine: enginetest.Client(t), Wires: fault.NewWires()}
}

// least are parameters with which a kind can be asked for at all.
func least(kind string) string {
	switch kind {
	case "netem":
		return `{"delay":1000000}`
	case "throttle_io":
		return `{"path":"/","read_bps":1}`
	case "exhaust_inodes":
		return `{"path":"/","percent":1}`
	case "fill_disk":
		return `{"path":"/","size":1}`
	case "exec":
		return `{"argv":["true"],"timeout":1000000000}`
	case "partition":
		return `{"peers":["192.0.2.1"]}`
	}
	return `{}`
}

func prepare(t testing.TB, kind, params string, target fault.Target) (fault.Fault, error) {
	t.Helper()
	f, err := fault.New(kind, json.RawMessage(params))
	if err != nil {
		t.Fatal(err)
	}
	return f, f.Prepare(t.Context(), world(t), target)
}

func inject(t testing.TB, kind, params string, target fault.Target) fault.Fault {
	t.Helper()
	f, err := prepare(t, kind, params, target)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(t.Context(), world(t)); err != nil {
		t.Fatal(err)
	}
	return reload(t, kind, f)
}

// reload sends a fault through its JSON: every undo here works from that alone.
func reload(t testing.TB, kind string, f fault.Fault) fault.Fault {
	t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	g, err := fault.Load(kind, raw)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var settled = fault.Past{Settled: true}

func undo(t testing.TB, f fault.Fault, past fault.Past, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return f.Undo(ctx, world(t), past)
}

func mustUndo(t testing.TB, f fault.Fault, past fault.Past) string {
	t.Helper()
	note, err := undo(t, f, past, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return note
}

func wantIn(t testing.TB, what, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("%s: got %q, want %q in it", what, got, p)
		}
	}
}

// Every kind: applied it is seen in place, undone the container is as before,
// and undone again nothing happens.
func TestApplyAndUndo(t *testing.T) {
	for name, c := range map[string]struct {
		kind, params string
		in           func(container.InspectResponse) bool
		policy       container.RestartPolicyMode
	}{
		"kill":             {"kill", `{"stays_down":true}`, down, "always"},
		"stop":             {"stop", `{"grace":1000000000}`, down, "always"},
		"pause":            {"pause", `{}`, func(c container.InspectResponse) bool { return c.State.Paused }, ""},
		"restart":          {"restart", `{"grace":1000000000}`, enginetest.Up, ""},
		"crash":            {"kill", `{"signal":"SIGKILL"}`, down, ""},
		"crash, restarted": {"kill", `{"signal":"KILL"}`, nil, "always"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := enginetest.Run(t, enginetest.Options{Policy: c.policy})
			before := k.Target()
			f := inject(t, c.kind, c.params, before)
			seen := k.Inspect()
			if c.in != nil && !c.in(seen) {
				t.Fatalf("applied, but the engine says %+v", *seen.State)
			}
			if c.kind != "pause" && enginetest.Up(seen) && seen.State.StartedAt == before.StartedAt {
				t.Fatal("the same generation still runs")
			}
			mustUndo(t, f, settled)
			if seen = k.Inspect(); !enginetest.Up(seen) {
				t.Fatalf("undone, but the engine says %+v", *seen.State)
			}
			if note := mustUndo(t, f, settled); c.kind != "pause" && c.kind != "restart" && note == "" {
				t.Error("a second undo had nothing to say")
			}
			if again := k.Inspect(); again.State.StartedAt != seen.State.StartedAt {
				t.Error("a second undo has started it again")
			}
		})
	}
}

func down(c container.InspectResponse) bool { return !c.State.Running }

// What cannot be harmed, or not be put back, is refused before the harm.
func TestPrepareRefuses(t *testing.T) {
	engine := enginetest.Client(t)
	up := enginetest.Run(t, enginetest.Options{}).Ready()
	refuses := func(why, kind, params string, target fault.Target) {
		t.Helper()
		_, err := prepare(t, kind, params, target)
		if !errors.Is(err, fault.ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", why, err)
			return
		}
		wantIn(t, kind, err.Error(), why)
	}
	target := up.Target()
	for kind := range fault.Kinds {
		old := target
		old.StartedAt = "2020-01-01T00:00:00Z"
		refuses("was restarted", kind, least(kind), old)
		other := target
		other.PID++
		refuses("was restarted", kind, least(kind), other)
		gone := target
		gone.ID = strings.Repeat("0", 64)
		refuses("is gone", kind, least(kind), gone)
	}
	refuses("PID 1 without a handler", "kill", `{"signal":"SIGHUP"}`, enginetest.Run(t, enginetest.Options{Env: []string{"TERM_MODE=raw"}}).Ready().Target())
	refuses("ignores it", "kill", `{"signal":"SIGTERM"}`, target)
	refuses("--rm", "kill", `{"stays_down":true}`, enginetest.Run(t, enginetest.Options{Remove: true}).Target())
	refuses("--rm", "stop", `{}`, enginetest.Run(t, enginetest.Options{Remove: true}).Target())
	refuses("orchestrator", "kill", `{}`, enginetest.Run(t, enginetest.Options{Labels: map[string]string{"com.docker.swarm.task.id": "x"}}).Target())

	up.Do("pause", func(ctx context.Context) error { return engine.ContainerPause(ctx, up.ID) })
	for kind := range fault.Kinds {
		refuses("is paused", kind, least(kind), target)
	}
	up.Kill()
	for kind := range fault.Kinds {
		refuses("is not running", kind, least(kind), target)
	}
	loop := enginetest.Run(t, enginetest.Options{Env: []string{"CRASH=1"}, Policy: "always"})
	seen := loop.WaitFor("backing off", func(c container.InspectResponse) bool { return c.State.Restarting && c.RestartCount > 3 })
	refuses("is restarting", "kill", `{}`, fault.Target{Name: loop.Name, ID: loop.ID, StartedAt: seen.State.StartedAt})
}

// A signal goes to the process itself: a polite one ends it, one that it
// survives is told as such, and its restart policy is left as it was.
func TestSignals(t *testing.T) {
	t.Run("ends it", func(t *testing.T) {
		t.Parallel()
		k := enginetest.Run(t, enginetest.Options{Env: []string{"TERM_MODE=exit"}, Policy: "always"}).Ready()
		before := k.Target()
		inject(t, "kill", `{"signal":"SIGTERM"}`, before)
		k.WaitFor("restarted by its policy", func(c container.InspectResponse) bool {
			return enginetest.Up(c) && c.State.StartedAt != before.StartedAt
		})
	})
	t.Run("is survived", func(t *testing.T) {
		t.Parallel()
		k := enginetest.Run(t, enginetest.Options{Env: []string{"TERM_MODE=survive"}, Policy: "always"}).Ready()
		before := k.Target()
		inject(t, "kill", `{"signal":"SIGHUP"}`, before) // a reload
		if now := k.Target(); now != before {
			t.Fatalf("it is another generation after a reload: %+v", now)
		}
		inject(t, "kill", `{}`, before) // the policy must still act
		k.WaitFor("restarted by its policy", func(c container.InspectResponse) bool {
			return enginetest.Up(c) && c.State.StartedAt != before.StartedAt
		})
	})
	t.Run("is survived though it should end it", func(t *testing.T) {
		t.Parallel()
		k := enginetest.Run(t, enginetest.Options{Env: []string{"TERM_MODE=survive"}}).Ready()
		f, err := prepare(t, "kill", `{"signal":"SIGTERM"}`, k.Target())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err = f.Apply(ctx, world(t))
		if err == nil {
			t.Fatal("it survives SIGTERM, and nothing was said")
		}
		wantIn(t, "error", err.Error(), "survived SIGTERM")
	})
}

// Undo for one generation never touches its successor.
func TestGenerations(t *testing.T) {
	engine := enginetest.Client(t)
	for name, c := range map[string]struct {
		kind, params string
		meanwhile    func(t *testing.T, k *enginetest.Container)
		past         fault.Past
		note         string
		up           bool
	}{
		"killed, started by hand": {"kill", `{"stays_down":true}`, func(_ *testing.T, k *enginetest.Container) { k.Start() }, settled, "running again already", true},
		"killed, started by hand and ended again": {"kill", `{"stays_down":true}`, func(_ *testing.T, k *enginetest.Container) { k.Start(); k.Kill() },
			settled, "left so", false},
		"killed, started by our undo, which died, and ended again": {"kill", `{"stays_down":true}`, func(_ *testing.T, k *enginetest.Container) { k.Start(); k.Kill() },
			fault.Past{Settled: true, Again: true}, "", true},
		"killed, removed": {"kill", `{"stays_down":true}`, func(_ *testing.T, k *enginetest.Container) { k.Remove() }, settled, "was removed", false},
		"killed, re-created": {"kill", `{"stays_down":true}`, func(t *testing.T, k *enginetest.Container) {
			k.Remove()
			enginetest.Run(t, enginetest.Options{Name: k.Name, NoStart: true})
		}, settled, "re-created", false},
		"paused, killed": {"pause", `{}`, func(_ *testing.T, k *enginetest.Container) { k.Kill() }, settled, "not running any more", false},
		"paused, restarted and paused by hand": {"pause", `{}`, func(_ *testing.T, k *enginetest.Container) {
			k.Kill()
			k.Start()
			k.Do("pause", func(ctx context.Context) error { return engine.ContainerPause(ctx, k.ID) })
		}, settled, "somebody else", false},
		"paused, unpaused by hand": {"pause", `{}`, func(_ *testing.T, k *enginetest.Container) {
			k.Do("unpause", func(ctx context.Context) error {
				// Seen once: the engine says paused, its runtime "cannot resume a running process"; why is not known.
				err := engine.ContainerUnpause(ctx, k.ID)
				for err != nil && ctx.Err() == nil && k.Inspect().State.Paused {
					time.Sleep(20 * time.Millisecond)
					err = engine.ContainerUnpause(ctx, k.ID)
				}
				if !k.Inspect().State.Paused {
					return nil
				}
				return err
			})
		}, settled, "", true},
		"killed, started and paused by hand": {"kill", `{"stays_down":true}`, func(_ *testing.T, k *enginetest.Container) {
			k.Start()
			k.Do("pause", func(ctx context.Context) error { return engine.ContainerPause(ctx, k.ID) })
		}, settled, "somebody has paused it", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := enginetest.Run(t, enginetest.Options{})
			f := inject(t, c.kind, c.params, k.Target())
			c.meanwhile(t, k)
			note := mustUndo(t, f, c.past)
			if c.note != "" || note != "" {
				wantIn(t, "note", note, c.note)
			}
			seen, err := engine.ContainerInspect(t.Context(), k.Name)
			if up := err == nil && enginetest.Up(seen); up != c.up {
				t.Errorf("up: got %v, want %v (%v)", up, c.up, err)
			}
		})
	}
}

// A container that crashes again and again is not up because it was seen up.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{Env: []string{"CRASH_AGAIN=1"}, Policy: "on-failure"}).Ready() // its first start is on its disk
	f := inject(t, "kill", `{}`, k.Target())
	k.WaitFor("crashing", func(c container.InspectResponse) bool { return c.RestartCount > 2 })
	_, err := undo(t, f, settled, 6*time.Second)
	if err == nil {
		t.Fatal("it crashes and crashes, and counts as undone")
	}
	t.Log(err)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{Health: enginetest.Health(), Env: []string{"HEALTH=once"}})
	k.WaitFor("healthy", enginetest.Healthy)
	f := inject(t, "kill", `{"stays_down":true}`, k.Target())
	mustUndo(t, f, settled)
	if seen := k.Inspect(); !enginetest.Healthy(seen) {
		t.Fatalf("undone before it was healthy: %+v", *seen.State.Health)
	}
	k.WriteFile("first-start-is-over")
	f = inject(t, "kill", `{"stays_down":true}`, k.Target())
	_, err := undo(t, f, settled, 3*time.Second)
	if err == nil {
		t.Fatal("it is not healthy, and counts as undone")
	}
	wantIn(t, "error", err.Error(), "health check has not passed", "broken since the restart")
}

// A container that was unwell before need not be well after.
func TestUnhealthyBefore(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{Health: enginetest.Health(), Env: []string{"HEALTH=never"}})
	mustUndo(t, inject(t, "kill", `{"stays_down":true}`, k.Target()), settled)
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	k := enginetest.Run(t, enginetest.Options{Publish: port})
	f := inject(t, "kill", `{"stays_down":true}`, k.Target())

	other := enginetest.Run(t, enginetest.Options{Publish: port})
	_, err := undo(t, f, settled, 5*time.Second)
	if err == nil {
		t.Fatal("the port is taken, and it counts as undone")
	}
	wantIn(t, "error", err.Error(), "port "+port+" is held by container "+other.Name)
	other.Remove()

	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	_, err = undo(t, f, settled, 5*time.Second)
	if err == nil {
		t.Fatal("the port is taken, and it counts as undone")
	}
	wantIn(t, "error", err.Error(), "port "+port+" is held by process", "fault.test")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustUndo(t, f, settled)
}

func TestTakenAddress(t *testing.T) {
	t.Parallel()
	on := enginetest.Network(t, "10.211.77.0/24")
	k := enginetest.Run(t, enginetest.Options{Network: on, IP: "10.211.77.5"})
	f := inject(t, "kill", `{"stays_down":true}`, k.Target())
	other := enginetest.Run(t, enginetest.Options{Network: on, IP: "10.211.77.5"})
	_, err := undo(t, f, settled, 5*time.Second)
	if err == nil {
		t.Fatal("the address is taken, and it counts as undone")
	}
	wantIn(t, "error", err.Error(), "address 10.211.77.5 is held by container "+other.Name)
	other.Remove()
	mustUndo(t, f, settled)
}

// An undo that knows nothing of the end of its apply waits for what may land.
func TestUnsettled(t *testing.T) {
	engine := enginetest.Client(t)
	for kind, land := range map[string]func(context.Context, string) error{
		"kill":  func(ctx context.Context, id string) error { return engine.ContainerKill(ctx, id, "SIGKILL") },
		"pause": engine.ContainerPause,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k := enginetest.Run(t, enginetest.Options{})
			params := `{}`
			if kind == "kill" {
				params = `{"stays_down":true}`
			}
			f, err := prepare(t, kind, params, k.Target())
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := undo(t, f, fault.Past{}, 30*time.Second)
				ended <- err
			}()
			time.Sleep(500 * time.Millisecond) // the engine was slow to take the call
			if err := land(t.Context(), k.ID); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if seen := k.Inspect(); !enginetest.Up(seen) {
				t.Fatalf("it landed after its undo: %+v", *seen.State)
			}
		})
	}
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

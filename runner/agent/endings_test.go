package agent

import (
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

// Every ending undoes everything. What is looked at is the engine.
func TestEndings(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *child){
		"end of file": func(_ *testing.T, c *child) { _ = c.stdin.Close() },
		"silence":     func(_ *testing.T, c *child) { c.quiet() },
		"TERM":        func(_ *testing.T, c *child) { c.signal(syscall.SIGTERM) },
		"HUP":         func(_ *testing.T, c *child) { c.signal(syscall.SIGHUP) },
		"QUIT":        func(_ *testing.T, c *child) { c.signal(syscall.SIGQUIT) },
		"INT, ten times": func(_ *testing.T, c *child) {
			for range 10 {
				_ = c.cmd.Process.Signal(syscall.SIGINT) // it may have ended
				time.Sleep(5 * time.Millisecond)
			}
		},
		"undo_all": func(t *testing.T, c *child) {
			var undone protocol.Undone
			if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "abort"}, &undone); err != nil {
				t.Error(err)
			}
			for _, r := range undone.Results {
				if r.Error != "" || r.Reason != "abort" {
					t.Errorf("got %+v", r)
				}
			}
		},
		"close": func(t *testing.T, c *child) {
			if err := c.call(protocol.CallClose, nil, nil); err != nil {
				t.Error(err)
			}
		},
		"nonsense on the link": func(_ *testing.T, c *child) { _, _ = io.WriteString(c.stdin, "{]\n") },
		"nobody reads, then end of file": func(_ *testing.T, c *child) {
			_ = c.stdout.Close()
			_ = c.call(protocol.CallHeartbeat, protocol.Beat{}, nil) // draws a write to the broken pipe
			_ = c.stdin.Close()
		},
		"TERM and nobody reads": func(_ *testing.T, c *child) { _ = c.stdout.Close(); c.signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			frozen := enginetest.Run(t, enginetest.Options{})
			c := start(t, hello(state))
			c.apply(order("f1", "pause", `{}`, frozen.Target()))
			in, killed := 1, frozen
			if slices.Contains([]string{"end of file", "silence", "TERM", "undo_all"}, name) {
				in, killed = 2, enginetest.Run(t, enginetest.Options{})
				c.apply(order("f2", "kill", `{"stays_down":true}`, killed.Target()))
			}
			if !paused(frozen.Inspect()) || in == 2 && !down(killed.Inspect()) {
				t.Fatal("applied, but the engine knows nothing of it")
			}
			began := time.Now()
			end(t, c)
			frozen.WaitFor("as before", enginetest.Up)
			unpaused := time.Since(began)
			killed.WaitFor("as before", enginetest.Up)
			t.Logf("%d faults: unpaused after %v, all as before after %v", in, unpaused.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
			if name == "close" {
				if left := ledgers(t, state); len(left) != 0 {
					t.Errorf("closed, and the ledger %v is still there", left)
				}
				return
			}
			c.quiet()
			_ = c.stdin.Close()
			if code := c.wait(); code != 0 {
				t.Errorf("got exit code %d, want 0", code)
			}
			// The run was never closed: the next start hears of it, once.
			told := recovered(t, state)
			if len(told) != 1 || told[0].Run != "test" || told[0].Header.Name != "exp1" || len(told[0].Results) != in {
				t.Fatalf("got recovered %+v", told)
			}
			for _, r := range told[0].Results {
				if r.Error != "" {
					t.Errorf("stuck: %+v", r)
				}
			}
			if left := ledgers(t, state); len(left) != 0 {
				t.Errorf("recovered, and the ledger %v is still there", left)
			}
		})
	}
}

// After SIGKILL of supervisor and agent the next start undoes.
func TestKilledAgent(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state))
	c.apply(order("f1", "kill", `{"stays_down":true}`, k.Target()))
	c.kill()
	if !down(k.Inspect()) {
		t.Fatal("a dead agent has undone")
	}
	s, err := Status(state)
	if err != nil || len(s) != 1 || s[0].Alive || len(s[0].In) != 1 || s[0].In[0].Target != k.Name {
		t.Fatalf("got status %+v, %v", s, err)
	}
	h := hello(state)
	h.Run = "next"
	began := time.Now()
	next := start(t, h)
	t.Logf("a new run: undone after %v", time.Since(began).Round(time.Millisecond))
	if !enginetest.Up(k.Inspect()) {
		t.Fatal("a new run began before the dead one was undone")
	}
	if r := next.welcome.Recovered; len(r) != 1 || len(r[0].Results) != 1 || r[0].Results[0].Reason != "recover" {
		t.Fatalf("got %+v", r)
	}
}

// A fault's time passes: it alone is undone, and the supervisor is told.
func TestTTL(t *testing.T) {
	t.Parallel()
	a, b := enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(t.TempDir()))
	short := order("f1", "pause", `{}`, a.Target())
	short.TTL = 300 * time.Millisecond
	c.apply(short)
	c.apply(order("f2", "pause", `{}`, b.Target()))
	a.WaitFor("unpaused", enginetest.Up)
	if !paused(b.Inspect()) {
		t.Error("the other fault was undone as well")
	}
	waitUntil(t, "the event", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.undone) == 1 && c.undone[0].ID == "f1" && c.undone[0].Reason == "ttl" && c.undone[0].Error == ""
	})
	c.apply(order("f3", "pause", `{}`, a.Target())) // the epoch is still open
}

// A reader that does not read must not keep a fault in: the pipe is full, the
// queue is full, and the undo goes on.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	c := spawn(t)
	// By hand: this supervisor writes and does not read.
	say := func(line string) {
		if _, err := io.WriteString(c.stdin, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	state := t.TempDir()
	say(`{"v":1,"id":1,"call":"hello","body":{"run":"deaf","mode":"run","state":"` + state + `","heartbeat":20000000000,"header":{}}}`)
	target := mustJSON(t, order("f1", "pause", `{}`, k.Target()))
	waitUntil(t, "its ledger", func() bool { return len(ledgers(t, state)) == 1 })
	time.Sleep(100 * time.Millisecond) // until the hello is answered
	say(`{"v":1,"id":2,"call":"apply","body":` + target + `}`)
	k.WaitFor("paused", paused)
	flood := `{"v":1,"id":3,"call":"` + strings.Repeat("x", 1000) + `"}`
	for range 3000 { // the error that answers each of them quotes it
		say(flood)
	}
	if err := c.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	k.WaitFor("unpaused", enginetest.Up)
	if code := c.wait(); code != 0 {
		t.Errorf("got exit code %d", code)
	}
}

func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("no sign of %s", what)
		}
	}
}

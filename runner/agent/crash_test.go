package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/protocol"
)

// The agent dies at each step of its work; after the next recover the engine
// is as before, and nothing is left on disk.
func TestCrashAtEachStep(t *testing.T) {
	for kind, params := range map[string]string{"pause": `{}`, "kill": `{"stays_down":true}`, "stop": `{"grace":1000000000}`} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k := enginetest.Run(t, enginetest.Options{Env: []string{"TERM_MODE=exit"}}).Ready()
			for _, step := range []string{
				"before-intent", "before-fsync-intent", "after-intent", "after-apply", "after-applied",
				"before-undo", "after-undoing", "after-undo", "after-undone", "after-closed",
			} {
				state := t.TempDir()
				before := k.Target()
				c := start(t, hello(state), "RUNNER_FAILPOINT="+step+":kill")
				err := c.call(protocol.CallApply, order("f1", kind, params, before), nil)
				if err == nil {
					_ = c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, nil) // it dies in it
				}
				if code := c.wait(); code != -1 {
					t.Fatalf("%s: got exit code %d, want a death by SIGKILL", step, code)
				}
				in := !enginetest.Up(k.Inspect())
				began := time.Now()
				told := recovered(t, state)
				if !enginetest.Up(k.Inspect()) {
					t.Fatalf("%s: the fault is still in", step)
				}
				if len(told) != 1 || len(told[0].Results) > 1 || len(told[0].Results) == 1 && told[0].Results[0].Error != "" {
					t.Fatalf("%s: got %+v", step, told)
				}
				if in && len(told[0].Results) != 1 {
					t.Errorf("%s: it was in and is not told of", step)
				}
				if again := recovered(t, state); len(again) != 0 {
					t.Errorf("%s: told again of %+v", step, again)
				}
				t.Logf("%-20s it was in: %-5v recovered after %v", step, in, time.Since(began).Round(time.Millisecond))
			}
		})
	}
}

// A panic in one step takes nothing down with it.
func TestPanics(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(t.TempDir()), "RUNNER_FAILPOINT=after-applied:panic")
	wantCode(t, c.call(protocol.CallApply, order("f1", "pause", `{}`, k.Target()), nil), protocol.CodeFailed, "panic")
	_ = c.stdin.Close()
	k.WaitFor("unpaused", enginetest.Up)
	if code := c.wait(); code != 0 {
		t.Errorf("got exit code %d", code)
	}
}

// Recovers at once: one has the ledger, the others find nothing, all is undone.
func TestRecoverAtOnce(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	containers := []*enginetest.Container{enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{})}
	c := start(t, hello(state))
	for i, k := range containers {
		c.apply(order([]string{"f1", "f2"}[i], "kill", `{"stays_down":true}`, k.Target()))
	}
	c.kill()
	var all sync.WaitGroup
	told := make([][]protocol.Abandoned, 3)
	for i := range told {
		all.Go(func() { told[i] = recovered(t, state) })
	}
	all.Wait()
	for _, k := range containers {
		if !enginetest.Up(k.Inspect()) {
			t.Errorf("%s is not up", k.Name)
		}
	}
	if n := len(told[0]) + len(told[1]) + len(told[2]); n != 1 || len(ledgers(t, state)) != 0 {
		t.Errorf("told of %+v, left %v", told, ledgers(t, state))
	}
}

func TestTwoRuns(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	state := t.TempDir()
	first := start(t, hello(state))
	first.apply(order("f1", "pause", `{}`, k.Target()))
	h := hello(state)
	h.Run = "second"
	second := spawn(t).listen()
	wantCode(t, second.greet(h), protocol.CodeBusy, "run test (agent pid", "runner stop test", "runner status")
	h.Mode, h.Run = protocol.ModeRecover, "test"
	wantCode(t, spawn(t).listen().greet(h), protocol.CodeBusy, "is alive")
	if told := recovered(t, state); len(told) != 0 || !paused(k.Inspect()) {
		t.Errorf("a live run was recovered: %+v", told)
	}
	if left := ledgers(t, state); len(left) != 1 {
		t.Errorf("got ledgers %v", left)
	}
	// The lock goes with the undo, not with the process.
	if err := first.call(protocol.CallUndoAll, protocol.UndoAll{}, nil); err != nil {
		t.Fatal(err)
	}
	h = hello(state)
	h.Run = "third"
	start(t, h)
}

// A run waits for whoever is about to undo what a dead one has injected: an heir,
// a recover or a stop has its ledger, and might else undo what the new one injects.
func TestRunWaitsForTheUndoOfOthers(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{})
	state := t.TempDir()
	first := start(t, hello(state))
	first.apply(order("f1", "pause", `{}`, k.Target()))
	first.kill()
	heir, _, err := ledger.Open(first.welcome.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	h := hello(state)
	h.Run = "second"
	second, greeted := spawn(t).listen(), make(chan error, 1)
	go func() { greeted <- second.greet(h) }()
	waitUntil(t, "the second run's ledger", func() bool { return len(ledgers(t, state)) == 2 })
	time.Sleep(500 * time.Millisecond) // an agent that does not wait answers meanwhile
	select {
	case err := <-greeted:
		_ = heir.Close()
		t.Fatalf("it was opened before the undo of the first (%v)", err)
	default:
	}
	if err := heir.Close(); err != nil { // it has died too
		t.Fatal(err)
	}
	if err := <-greeted; err != nil || paused(k.Inspect()) {
		t.Errorf("got %v; paused: %v", err, paused(k.Inspect()))
	}
}

// What is stuck stays on disk, and is told and tried again each time.
func TestStuck(t *testing.T) {
	t.Parallel()
	state, port := t.TempDir(), "18431"
	k := enginetest.Run(t, enginetest.Options{Publish: port})
	h := hello(state)
	h.Undo = 15 * time.Second // a busy engine needs seconds to say that a port is taken
	c := start(t, h)
	c.apply(order("f1", "kill", `{"stays_down":true}`, k.Target()))
	other := enginetest.Run(t, enginetest.Options{Publish: port})
	var undone protocol.Undone
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, &undone); err != nil {
		t.Fatal(err)
	}
	if r := undone.Results; len(r) != 1 || r[0].Attempts < 2 || r[0].Mend != "docker start "+k.Name {
		t.Fatalf("got %+v", r)
	}
	wantIn(t, undone.Results[0].Error, "not undone within 15s", "port "+port+" is held by container "+other.Name)
	err := c.call(protocol.CallClose, nil, nil)
	wantCode(t, err, protocol.CodeFailed, "stuck", "runner recover")
	_ = c.stdin.Close()
	if code := c.wait(); code != 6 {
		t.Errorf("got exit code %d, want 6", code)
	}
	s, err := Status(state)
	if err != nil || len(s) != 1 || len(s[0].In) != 1 || s[0].In[0].Stuck == "" || s[0].Alive {
		t.Errorf("got status %+v, %v", s, err)
	}
	for i := range 2 {
		h.Mode, h.Run, h.Undo = protocol.ModeRecover, "", 2*time.Second
		told := start(t, h).welcome.Recovered
		if len(told) != 1 || len(told[0].Results) != 1 || told[0].Results[0].Error == "" || told[0].Again != (i > 0) {
			t.Fatalf("got %+v", told)
		}
	}
	other.Remove()
	if told := recovered(t, state); len(told) != 1 || told[0].Results[0].Error != "" || !enginetest.Up(k.Inspect()) {
		t.Fatalf("got %+v", told)
	}
	if left := ledgers(t, state); len(left) != 0 {
		t.Errorf("all is out, and the ledger %v is still there", left)
	}
}

// Script rollbacks outlive everything until somebody has run them.
func TestScriptRollbacks(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	c := start(t, hello(state))
	for _, id := range []string{"r1", "r2", "r3"} {
		if err := c.call(protocol.CallRollback, protocol.Rollback{ID: id, Func: "put_back", Sources: map[string]string{"m": "x"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, c.call(protocol.CallRollback, protocol.Rollback{ID: "r1"}, nil), protocol.CodeBad)
	if err := c.call(protocol.CallRolled, protocol.Rolled{ID: "r2"}, nil); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.call(protocol.CallRolled, protocol.Rolled{ID: "r9"}, nil), protocol.CodeBad)
	for _, id := range []string{"r2", "r9"} { // it has run, or was never asked for
		wantCode(t, c.call(protocol.CallRolling, protocol.Rolled{ID: id}, nil), protocol.CodeBad)
	}
	if err := c.call(protocol.CallRolling, protocol.Rolled{ID: "r3"}, nil); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.call(protocol.CallClose, nil, nil), protocol.CodeFailed, "has not run")
	c.kill()
	h := hello(state)
	h.Mode = protocol.ModeRecover
	c = start(t, h)
	if told := c.welcome.Recovered; len(told) != 1 || len(told[0].Rollbacks) != 2 || told[0].Again || !slices.Equal(told[0].Begun, []string{"r3"}) {
		t.Fatalf("got %+v", told)
	}
	c.kill() // before it has run them
	c = start(t, h)
	if told := c.welcome.Recovered; len(told) != 1 || len(told[0].Rollbacks) != 2 || !told[0].Again {
		t.Fatalf("got %+v", told)
	}
	for _, id := range []string{"r1", "r3"} {
		for _, call := range []string{protocol.CallRolling, protocol.CallRolled} {
			if err := c.call(protocol.CallSettled, protocol.Settled{Run: "test"}, nil); err != nil || len(ledgers(t, state)) != 1 {
				t.Fatalf("got %v, left %v: a rollback has yet to run", err, ledgers(t, state))
			}
			if err := c.call(call, protocol.Rolled{ID: id, Run: "test"}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.kill() // before its run's end is written
	if told := recovered(t, state); len(told) != 1 || len(told[0].Rollbacks) != 0 {
		t.Errorf("got %+v", told)
	}
	if left := ledgers(t, state); len(left) != 0 {
		t.Errorf("all is run, and the ledger %v is still there", left)
	}
}

// A rollback whose registration is under way when the run ends is on disk or is
// refused; who then asks for it hears which.
func TestScriptRollbackUnderWay(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	enginetest.Client(t)
	c := start(t, hello(state), "RUNNER_FAILPOINT=before-fsync-rollback:wait")
	kept := make(chan error, 1)
	go func() { kept <- c.call(protocol.CallRollback, protocol.Rollback{ID: "r1", Func: "put_back"}, nil) }()
	for until := time.Now().Add(time.Minute); !strings.Contains(read(t, c.welcome.Ledger), "put_back"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the rollback never came to the ledger")
		}
	}
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.call(protocol.CallRolling, protocol.Rolled{ID: "r1"}, nil); err != nil {
		t.Errorf("it was under way before the end, and is not waited for: %v", err)
	}
	if err := <-kept; err != nil {
		t.Error(err)
	}
	wantCode(t, c.call(protocol.CallRollback, protocol.Rollback{ID: "r2"}, nil), protocol.CodeClosed)
	wantCode(t, c.call(protocol.CallRolling, protocol.Rolled{ID: "r2"}, nil), protocol.CodeBad)
	if err := c.call(protocol.CallRolled, protocol.Rolled{ID: "r1"}, nil); err != nil {
		t.Error(err)
	}
	if err := c.call(protocol.CallClose, nil, nil); err != nil {
		t.Error(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A ledger with a damaged intent is told of, undone as far as it can be read,
// and kept for people.
func TestDamagedLedger(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	a, b := enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state))
	c.apply(order("f1", "pause", `{}`, a.Target()))
	c.apply(order("f2", "pause", `{}`, b.Target()))
	c.kill()
	path := c.welcome.Ledger
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw = bytes.TrimRight(raw, "\x00") // room that was set aside
	contents, _, err := ledger.Read(path)
	if err != nil || len(contents.Faults) != 2 || contents.Damage != "" {
		t.Fatalf("got %+v, %v", contents, err)
	}
	raw[len(raw)/4] ^= 1 // in the header or the first intent
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	told := recovered(t, state)
	if len(told) != 1 || told[0].Damaged == "" {
		t.Fatalf("got %+v", told)
	}
	wantIn(t, told[0].Damaged, "unreadable", "kept in")
	if paused(b.Inspect()) {
		t.Error("the fault that could be read is still in")
	}
	if kept, _ := filepath.Glob(path + ".damaged-*"); len(kept) != 1 {
		t.Errorf("kept %v", kept)
	}
	a.Do("unpause", func(ctx context.Context) error { return enginetest.Client(t).ContainerUnpause(ctx, a.ID) })
}

// A full disk: nothing is injected that could not be undone, and what is in is
// undone and recorded in the room that was set aside.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(state, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	k, other := enginetest.Run(t, enginetest.Options{}), enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state))
	c.apply(order("f1", "pause", `{}`, k.Target()))
	fill(t, filepath.Join(state, "ballast"))
	wantCode(t, c.call(protocol.CallApply, order("f2", "pause", `{}`, other.Target()), nil), protocol.CodeFailed, "nothing was injected", "no space left")
	if paused(other.Inspect()) {
		t.Error("injected without a remedy on disk")
	}
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, nil); err != nil {
		t.Fatal(err)
	}
	if paused(k.Inspect()) {
		t.Error("a full disk keeps a fault in")
	}
	s, err := Status(state)
	if err != nil || len(s) != 1 || len(s[0].In) != 0 || s[0].Closed != "end" || s[0].Damage != "" {
		t.Errorf("its undo was not recorded: %+v, %v", s, err)
	}
	if err := c.call(protocol.CallClose, nil, nil); err != nil {
		t.Error(err)
	}
	fill(t, filepath.Join(state, "more ballast"))
	h := hello(state)
	h.Run = "next"
	if err := spawn(t).listen().greet(h); err == nil {
		t.Error("a run began on a full disk")
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it cannot take more
	for _, size := range []int{4096, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// Twenty containers, down at once and up again at once.
func TestTwenty(t *testing.T) {
	if testing.Short() {
		t.Skip("20 containers")
	}
	const n = 20
	containers := make([]*enginetest.Container, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { containers[i] = enginetest.Run(t, enginetest.Options{}) })
	}
	all.Wait()
	c := start(t, hello(t.TempDir()))
	for i, k := range containers {
		all.Go(func() {
			if err := c.call(protocol.CallApply, order("f1."+string(rune('a'+i)), "kill", `{"stays_down":true}`, k.Target()), nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	began := time.Now()
	var undone protocol.Undone
	if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "end"}, &undone); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d containers started again in %v", n, time.Since(began).Round(time.Millisecond))
	for _, r := range undone.Results {
		if r.Error != "" {
			t.Errorf("stuck: %+v", r)
		}
	}
	for _, k := range containers {
		if !enginetest.Up(k.Inspect()) {
			t.Errorf("%s is not up", k.Name)
		}
	}
}

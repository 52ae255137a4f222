package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

func mustStop(t *testing.T, state, run string) []Stopped {
	t.Helper()
	began := time.Now()
	s, err := Stop(t.Context(), state, run)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(began).Round(time.Millisecond))
	return s
}

// The red button, on an agent that lives, and whose supervisor does.
func TestStop(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state))
	c.apply(order("f1", "kill", `{"stays_down":true}`, k.Target()))
	if _, err := Stop(t.Context(), state, "other"); err == nil || !strings.Contains(err.Error(), "no run other") {
		t.Errorf("got %v", err)
	}
	s := mustStop(t, state, "")
	if !enginetest.Up(k.Inspect()) {
		t.Fatal("stopped, and the fault is in")
	}
	if len(s) != 1 || s[0].How != HowUndone || s[0].PID != c.welcome.PID || len(s[0].Results) != 1 || s[0].Results[0].Reason != "signal: terminated" || s[0].Error != "" {
		t.Fatalf("got %+v", s)
	}
	// Its supervisor lives, hears of it, and closes the ledger itself.
	wantCode(t, c.call(protocol.CallApply, order("f2", "pause", `{}`, k.Target()), nil), protocol.CodeClosed)
	if err := c.call(protocol.CallClose, nil, nil); err != nil {
		t.Error(err)
	}
	if again := mustStop(t, state, ""); len(again) != 0 {
		t.Errorf("got %+v", again)
	}
}

// The red button, on an agent that was stopped: it is killed, and its faults
// are taken back all the same.
func TestStopOfFrozenAgent(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state))
	c.apply(order("f1", "pause", `{}`, k.Target()))
	c.signal(syscall.SIGSTOP)
	s := mustStop(t, state, "test")
	if paused(k.Inspect()) {
		t.Fatal("stopped, and the fault is in")
	}
	if len(s) != 1 || s[0].How != HowKilled || len(s[0].Results) != 1 || s[0].Results[0].Error != "" {
		t.Fatalf("got %+v", s)
	}
	if code := c.wait(); code != -1 {
		t.Errorf("got exit code %d", code)
	}
	// What the run was is told to the next start.
	if told := recovered(t, state); len(told) != 1 || len(told[0].Results) != 1 || told[0].Header.Name != "exp1" {
		t.Errorf("got %+v", told)
	}
}

// The red button, on an agent that hangs in its undo.
func TestStopOfHangingAgent(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state), "RUNNER_FAILPOINT=after-undoing:hang")
	c.apply(order("f1", "pause", `{}`, k.Target()))
	s := mustStop(t, state, "")
	if paused(k.Inspect()) || len(s) != 1 || s[0].How != HowKilled {
		t.Fatalf("got %+v", s)
	}
	c.wait()
}

// The red button, on a run that is dead and whose ledger a recover has that was
// stopped before it took anything back.
func TestStopOfFrozenRecover(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state))
	c.apply(order("f1", "pause", `{}`, k.Target()))
	c.kill()
	h := hello(state)
	h.Mode, h.Run = protocol.ModeRecover, ""
	heir := spawn(t, "RUNNER_FAILPOINT=before-undo:stop").listen()
	go func() { _ = heir.greet(h) }() // it is killed before it answers
	for until := time.Now().Add(time.Minute); !frozen(heir.cmd.Process.Pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the recover never stood still")
		}
	}
	s := mustStop(t, state, "")
	if paused(k.Inspect()) {
		t.Fatal("stopped, and the fault is in")
	}
	if len(s) != 1 || s[0].How != HowKilled || s[0].Error != "" || len(s[0].Results) != 1 || s[0].Results[0].Error != "" {
		t.Fatalf("got %+v", s)
	}
	if code := heir.wait(); code != -1 {
		t.Errorf("got exit code %d", code)
	}
}

func TestStopOfDeadRun(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state))
	c.apply(order("f1", "pause", `{}`, k.Target()))
	c.kill()
	if s := mustStop(t, state, ""); len(s) != 1 || s[0].How != HowDead || paused(k.Inspect()) {
		t.Fatalf("got %+v", s)
	}
	if told := recovered(t, state); len(told) != 1 || len(told[0].Results) != 1 {
		t.Errorf("got %+v", told)
	}
}

// A ledger whose holder is somebody else's process: it is not touched.
func TestStopTouchesNoStranger(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	enginetest.Client(t)
	c := start(t, hello(state))
	// A copy whose flock is ours, but whose header names the agent.
	raw, err := os.ReadFile(c.welcome.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(filepath.Dir(c.welcome.Ledger), "forged.ledger")
	if err := os.WriteFile(forged, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(forged)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.welcome.Ledger); err != nil {
		t.Fatal(err)
	}
	s, err := Stop(t.Context(), state, "")
	if err != nil || len(s) != 1 || !strings.Contains(s[0].Error, "is not touched") {
		t.Fatalf("got %+v, %v", s, err)
	}
	if err := c.call(protocol.CallHeartbeat, protocol.Beat{}, nil); err != nil {
		t.Errorf("a stranger was ended: %v", err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	if s, err := Status(filepath.Join(t.TempDir(), "none")); err != nil || len(s) != 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	state := t.TempDir()
	k := enginetest.Run(t, enginetest.Options{})
	c := start(t, hello(state))
	c.apply(order("f1", "pause", `{}`, k.Target()))
	s, err := Status(state)
	if err != nil || len(s) != 1 {
		t.Fatalf("got %+v, %v", s, err)
	}
	if r := s[0]; !r.Alive || r.Run != "test" || r.Name != "exp1" || r.PID != c.welcome.PID || r.Engine != c.welcome.EngineID ||
		len(r.In) != 1 || r.In[0].Kind != "pause" || r.In[0].Mend != "docker unpause "+k.Name || r.Closed != "" || time.Since(r.Began) > time.Minute {
		t.Errorf("got %+v", r)
	}
	if err := c.call(protocol.CallUndo, protocol.Undo{IDs: []string{"f1"}}, nil); err != nil {
		t.Fatal(err)
	}
	if s, err = Status(state); err != nil || len(s) != 1 || len(s[0].In) != 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(c.welcome.Ledger), "torn.ledger"), []byte("deadbeef 000"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = Status(state); err != nil || len(s) != 2 || s[0].Damage+s[1].Damage == "" {
		t.Errorf("got %+v, %v", s, err)
	}
}

// Without the rights to read, status says so, and what to do.
func TestStatusWithoutRights(t *testing.T) {
	t.Parallel()
	enginetest.Client(t)
	state := t.TempDir()
	start(t, hello(state))
	said := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with it, and so does its user
		_, _, failed := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0))
		if failed != 0 {
			said <- failed
			return
		}
		_, err := Status(state)
		said <- err
	}()
	if err := <-said; err == nil || !strings.Contains(err.Error(), "permission denied") || !strings.Contains(err.Error(), "run as root") {
		t.Errorf("got %v", err)
	}
}

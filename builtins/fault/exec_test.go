package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/agent/enginetest"
)

// withShell is a container that has programs to run.
func withShell(t *testing.T) *enginetest.Container {
	t.Helper()
	return enginetest.Run(t, enginetest.Options{
		Image: "shop-postgres", Tmpfs: map[string]string{"/var/lib/postgresql/data": ""},
		Env: []string{"POSTGRES_USER=a", "POSTGRES_PASSWORD=b", "POSTGRES_DB=c"},
	})
}

func execOf(t *testing.T, k *enginetest.Container, timeout time.Duration, argv, undo []string) fault.Fault {
	t.Helper()
	raw, err := json.Marshal(fault.Exec{Argv: argv, Remedy: undo, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	f, err := prepare(t, "exec", string(raw), k.Target())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// sees looks into the container's root from outside.
func sees(k *enginetest.Container, path string) bool {
	_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(k.Target().PID), "root", path))
	return err == nil
}

// running counts processes of this machine by their command line.
func running(t *testing.T, argv ...string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil && string(raw) == strings.Join(argv, "\x00")+"\x00" {
			n++
		}
	}
	return n
}

// nap is a sleep that no other test sleeps.
func nap(i int) string { return strconv.Itoa(100000 + os.Getpid()%100000*10 + i) }

func TestExec(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("what an exec leaves running is found as root only")
	}
	k := withShell(t)
	world := world(t)
	t.Run("what it did and began", func(t *testing.T) {
		f := execOf(t, k, time.Minute, []string{"sh", "-c", "echo hello; echo there >&2; touch /tmp/x; sleep " + nap(1) + " >/dev/null 2>&1 & exit 3"}, []string{"rm", "/tmp/x"})
		if err := f.Apply(t.Context(), world); err != nil {
			t.Fatal(err)
		}
		found := f.(fault.Witness).Findings()
		if len(found) != 1 || !strings.Contains(found[0].Text, "hello") || found[0].Figures[fault.ExitCode] != 3 {
			t.Errorf("got %+v", found)
		}
		waitFor(t, "the file and the process", func() bool { return sees(k, "/tmp/x") && running(t, "sleep", nap(1)) == 1 })
		g := reload(t, "exec", f) // as another process, after a reboot
		mustUndo(t, g, settled)
		if sees(k, "/tmp/x") || running(t, "sleep", nap(1)) != 0 {
			t.Errorf("left: file %t, processes %d", sees(k, "/tmp/x"), running(t, "sleep", nap(1)))
		}
		// Its own remedy says that there is nothing: that is the script's to see to.
		if _, err := g.Undo(t.Context(), world, settled); err == nil || !strings.Contains(err.Error(), "undo rm: got exit code 1, want 0: rm: cannot remove") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		f := execOf(t, k, time.Second, []string{"sleep", nap(2)}, nil)
		if err := f.Apply(t.Context(), world); err == nil || !strings.Contains(err.Error(), "it has not ended within 1s") {
			t.Errorf("got %v", err)
		}
		if n := running(t, "sleep", nap(2)); n != 0 {
			t.Errorf("%d are left", n)
		}
		mustUndo(t, f, settled)
	})
	t.Run("cut short", func(t *testing.T) {
		f := execOf(t, k, time.Minute, []string{"sleep", nap(3)}, []string{"true"})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Apply(ctx, world) }()
		waitFor(t, "the process", func() bool { return running(t, "sleep", nap(3)) == 1 })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		mustUndo(t, f, fault.Past{})
		if n := running(t, "sleep", nap(3)); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
	t.Run("its starter died", func(t *testing.T) {
		f := execOf(t, k, time.Minute, []string{"sleep", nap(4)}, []string{"true"})
		go func() { _ = f.Apply(context.WithoutCancel(t.Context()), world) }()
		waitFor(t, "the process", func() bool { return running(t, "sleep", nap(4)) == 1 })
		mustUndo(t, reload(t, "exec", f), fault.Past{})
		if n := running(t, "sleep", nap(4)); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
	t.Run("never begun", func(t *testing.T) {
		mustUndo(t, execOf(t, k, time.Minute, []string{"sleep", nap(5)}, []string{"true"}), fault.Past{})
	})
	t.Run("no such program", func(t *testing.T) {
		f := execOf(t, k, time.Minute, []string{"/nothing"}, nil)
		if err := f.Apply(t.Context(), world); err == nil || !strings.Contains(err.Error(), "exec /nothing: it cannot be run in ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("much to say", func(t *testing.T) {
		f := execOf(t, k, time.Minute, []string{"sh", "-c", "yes | head -c 10000000"}, nil)
		if err := f.Apply(t.Context(), world); err != nil {
			t.Fatal(err)
		}
		if found := f.(fault.Witness).Findings(); len(found[0].Text) > 4<<10 || len(found[0].Text) < 4000 {
			t.Errorf("got %d bytes", len(found[0].Text))
		}
	})
	t.Run("restarted, removed", func(t *testing.T) {
		f := execOf(t, k, time.Minute, []string{"touch", "/tmp/y"}, []string{"rm", "/tmp/y"})
		if err := f.Apply(t.Context(), world); err != nil {
			t.Fatal(err)
		}
		k.Kill()
		if _, err := f.Undo(t.Context(), world, settled); err == nil || !strings.Contains(err.Error(), "its undo cannot be run in it") {
			t.Errorf("dead: got %v", err)
		}
		k.Start()
		mustUndo(t, f, settled) // its files are there again
		if sees(k, "/tmp/y") {
			t.Error("the file is left")
		}
		k.Remove()
		if note := mustUndo(t, f, settled); !strings.Contains(note, "the container is gone") {
			t.Errorf("got note %q", note)
		}
	})
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not after 30 s: %s", what)
		}
	}
}

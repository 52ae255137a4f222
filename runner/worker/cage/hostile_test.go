package cage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Each attempt is made without a cage, to see that it is one; in the whole
// cage; and with each ring alone that should stop it. Every time the world is
// looked at, too.
func TestHostile(t *testing.T) {
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			if !a.blind {
				t.Run("uncaged", func(t *testing.T) { tryUncaged(t, a) })
			}
			t.Run("caged", func(t *testing.T) { tryCaged(t, a) })
			for _, rings := range a.alone {
				t.Run("by "+rings, func(t *testing.T) { tryAlone(t, a, rings) })
			}
		})
	}
}

func tryUncaged(t *testing.T, a attempt) {
	if a.root {
		needRoot(t, "without a cage only root can "+a.name)
	}
	w := newWorld(t)
	_, out, err := try(t, w, a, "none")
	if err != nil {
		t.Fatalf("got no answer: %v", err)
	}
	if out.Failed != "" && (a.maybe || filtered(t)) {
		t.Skipf("not every kernel and container lets an uncaged process do this, and this one does not: %s", out.Failed)
	}
	if out.Failed != "" {
		t.Errorf("an uncaged process could not either, so the caged ones show nothing: %s", out.Failed)
	}
}

func tryCaged(t *testing.T, a attempt) {
	w := newWorld(t)
	c, out, err := try(t, w, a, allRings)
	if a.kills {
		checkKilled(t, c, out, err)
	} else {
		checkFailed(t, c, out, err)
	}
	if harm := w.harm(c.Pid()); harm != "" {
		t.Errorf("the world: %s", harm)
	}
}

func tryAlone(t *testing.T, a attempt, rings string) {
	if strings.Contains(rings, "uid") || strings.Contains(rings, "capabilities") {
		needRoot(t, "others have no uid and no capabilities to drop")
	}
	if ring, version, ok := strings.Cut(rings, " v"); ok {
		rings = ring
		needLandlock(t, version)
	} else if rings == "landlock" {
		needLandlock(t, "1")
	}
	w := newWorld(t)
	c, out, err := try(t, w, a, rings)
	if a.kills && rings == "seccomp" {
		checkKilled(t, c, out, err)
	} else {
		checkFailed(t, c, out, err)
		if n := strings.Count(rings, ",") + 1; len(out.Rings) != n {
			t.Errorf("got the rings %q, want %s", out.Rings, rings)
		}
	}
	if harm := w.harm(c.Pid()); harm != "" {
		t.Errorf("the world: %s", harm)
	}
}

func checkFailed(t *testing.T, c *Child, out outcome, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got no answer: %v; the child %v\n%s", err, c.End(0), c.Stderr())
	}
	if out.Failed == "" {
		t.Error("it got what it wanted")
	}
}

func checkKilled(t *testing.T, c *Child, out outcome, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("it lives, and says %+v", out)
	} else if d := c.Wait(); d.Cause != Forbidden {
		t.Errorf("it died, but not of seccomp: %v\n%s", d, d.Stderr)
	}
}

// try has a new worker make the attempt, with a file of the test's left open.
func try(t *testing.T, w *world, a attempt, rings string) (*Child, outcome, error) {
	t.Helper()
	leak, err := unix.Open(w.Public, unix.O_RDWR, 0) // no O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	c := play(t, Options{}, "attempt", rings, a.name, w.words(t))
	if _, err := tryHear[[]string](c); err != nil {
		t.Fatalf("did not enter: %v; it %v\n%s", err, c.End(0), c.Stderr())
	}
	before := limits(t, c)
	out, err := tryHear[outcome](c)
	if now := limits(t, c); now != "" && rings == allRings && now != before {
		t.Errorf("limits changed:\n%s\nwere:\n%s", now, before)
	}
	return c, out, err
}

func limits(t *testing.T, c *Child) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", c.Pid()))
	if err != nil {
		return "" // dead
	}
	return string(b)
}

func needLandlock(t *testing.T, version string) {
	t.Helper()
	want, err := strconv.Atoi(version)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := ll.LandlockGetABIVersion()
	if got < want {
		t.Skipf("this kernel's Landlock is v%d, this needs v%d", got, want)
	}
	if want >= signalABI && got < syncABI && !has(threadSignals) {
		t.Skip("this kernel's Landlock cannot keep signals inside while threads are restricted one by one")
	}
}

package cage

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
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
	if out.Failed != "" && a.maybe {
		t.Skipf("not every kernel lets an uncaged process do this, and this one does not: %s", out.Failed)
	}
	if out.Failed != "" {
		t.Errorf("an uncaged process could not either, so the caged ones show nothing: %s", out.Failed)
	}
}

func tryCaged(t *testing.T, a attempt) {
	w := newWorld(t)
	c, out, err := try(t, w, a, allRings)
	if a.kills {
		if err == nil {
			t.Fatalf("it lives, and says %+v", out)
		}
		if d := c.Wait(); d.Cause != Forbidden {
			t.Errorf("it died, but not of seccomp: %v\n%s", d, d.Stderr)
		}
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
		if d := c.Wait(); err == nil || d.Cause != Forbidden {
			t.Errorf("got %+v, %v, want death by seccomp", out, d)
		}
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

// What a worker cannot do by one system call, all threads of it must not be
// able to do: also those that were there before Enter.
func TestThreads(t *testing.T) {
	for _, rings := range []string{allRings, "landlock", "seccomp", "uid"} {
		t.Run(rings, func(t *testing.T) {
			if rings == "uid" || rings == allRings {
				needRoot(t, "others have no uid to drop")
			}
			if rings == "landlock" {
				needLandlock(t, "1")
			}
			c := play(t, Options{}, "threads", rings)
			active := hear[[]string](t, c)
			got := hear[[]string](t, c)
			if len(got) < 8 {
				t.Errorf("got %d threads' answers, want at least 8", len(got))
			}
			for _, failed := range got {
				if failed == "" {
					t.Errorf("a thread could read a file of root's; active: %q", active)
				}
			}
			if rings == allRings {
				checkTasks(t, c)
			}
		})
	}
}

// checkTasks looks at every thread's credentials from outside.
func checkTasks(t *testing.T, c *Child) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	if len(tasks) < 8 {
		t.Errorf("got %d threads, want at least 8", len(tasks))
	}
	ids := uids(c.Pid(), pidNamespace())
	id := strconv.Itoa(ids[0])
	four := strings.Join([]string{id, id, id, id}, "\t")
	none := "0000000000000000"
	for _, task := range tasks {
		got := status(t, fmt.Sprintf("/proc/%d/task/%s/status", c.Pid(), task.Name()))
		for _, want := range []struct{ field, value string }{
			{"Uid", four}, {"Gid", four}, {"Groups", ""},
			{"CapInh", none}, {"CapPrm", none}, {"CapEff", none}, {"CapAmb", none},
			{"NoNewPrivs", "1"}, {"Seccomp", "2"},
		} {
			if got[want.field] != want.value {
				t.Errorf("thread %s: %s is %q, want %q", task.Name(), want.field, got[want.field], want.value)
			}
		}
	}
	// Undumpable: its files in /proc are root's, not its uid's.
	var st syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/environ", c.Pid()), &st); err != nil || st.Uid != 0 {
		t.Errorf("/proc/PID/environ belongs to uid %d (%v), want 0", st.Uid, err)
	}
}

// The rings that are reported are the rings that are there.
func TestRings(t *testing.T) {
	want := []string{"files", "rlimit", "no-new-privs", "capabilities", "undumpable", "pdeathsig", "seccomp"}
	if os.Geteuid() == 0 {
		want = append(want, "uid")
	}
	got := hear[[]string](t, play(t, Options{}, "idle", allRings))
	t.Logf("%q", got)
	for _, ring := range want {
		if !slices.Contains(got, ring) {
			t.Errorf("got the rings %q, want %q among them", got, ring)
		}
	}
	if abi, _ := ll.LandlockGetABIVersion(); abi > 0 && !strings.HasPrefix(strings.Join(got, ","), "files") {
		t.Errorf("got the rings %q", got)
	} else if abi > 0 && !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "landlock v") }) {
		t.Errorf("got the rings %q, want a Landlock ring: this kernel has v%d", got, abi)
	}
}

// No two workers share a uid.
func TestUIDs(t *testing.T) {
	seen := map[int]int{}
	for _, pid := range []int{1, 2, 100, 4194303} {
		for slot := range uint64(1 << slotBits) {
			id := uids(pid, slot)[0]
			if before, ok := seen[id]; ok {
				t.Errorf("uid %d for pids %d and %d", id, before, pid)
			}
			seen[id] = pid
			if id <= 2_000_200_000 || id >= 0x7ffe0000 {
				t.Errorf("uid %d for pid %d lies where accounts may be", id, pid)
			}
		}
		if id := uids(pid, 0)[1]; id < 40000 || id >= 60000 {
			t.Errorf("second choice %d for pid %d", id, pid)
		}
	}
}

func TestMustStand(t *testing.T) {
	for _, c := range []struct{ active, want string }{
		{"files rlimit no-new-privs uid capabilities undumpable pdeathsig landlock seccomp", ""},
		{"rlimit no-new-privs pdeathsig seccomp", ""},
		{"rlimit no-new-privs pdeathsig uid", ""},
		{"rlimit no-new-privs pdeathsig landlock", "uid or seccomp"},
		{"no-new-privs pdeathsig uid", "rlimit"},
		{"rlimit pdeathsig uid", "no-new-privs"},
		{"rlimit no-new-privs uid seccomp", "pdeathsig"},
		{"", "rlimit, pdeathsig, no-new-privs, uid or seccomp"},
	} {
		if got := mustStand(strings.Fields(c.active)); got != c.want {
			t.Errorf("with %q: got lacking %q, want %q", c.active, got, c.want)
		}
	}
}

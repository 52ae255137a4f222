package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

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
	if abi, _ := ll.LandlockGetABIVersion(); abi > 0 && !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "landlock v") }) {
		t.Errorf("got the rings %q, want a Landlock ring: this kernel has v%d", got, abi)
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
	id := strconv.Itoa(uids(c.Pid(), pidNamespace())[0])
	four, none := strings.Join([]string{id, id, id, id}, "\t"), "0000000000000000"
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

// no_new_privs is there without seccomp and Landlock, which set it, too.
func TestNoNewPrivs(t *testing.T) {
	c := play(t, Options{}, "threads", "no-new-privs")
	hear[[]string](t, c)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if got := status(t, fmt.Sprintf("/proc/%d/task/%s/status", c.Pid(), task.Name()))["NoNewPrivs"]; got != "1" {
			t.Errorf("thread %s: NoNewPrivs is %s, want 1", task.Name(), got)
		}
	}
}

// The groups of whoever starts it are not the worker's.
func TestGroups(t *testing.T) {
	needRoot(t, "to be in groups")
	cmd := exec.Command(publicCopy(t), "play", "parent", "threads", "uid")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4, 999}}}
	pid, _ := startParent[[]string](t, cmd)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if got := status(t, fmt.Sprintf("/proc/%d/task/%s/status", pid, task.Name()))["Groups"]; got != "" {
			t.Errorf("thread %s is in the groups %s", task.Name(), got)
		}
	}
}

// Every limit is hard, too: a soft one is lifted by whoever meets it.
func TestLimits(t *testing.T) {
	c := play(t, Options{Memory: 512 << 20}, "idle", allRings)
	hear[[]string](t, c)
	want := map[string]string{
		"Max data size": "536870912", "Max core file size": "0", "Max file size": "0", "Max open files": "16",
	}
	if os.Geteuid() == 0 {
		want["Max processes"] = "64"
	}
	for name, value := range want {
		for line := range strings.Lines(limits(t, c)) {
			if of, ok := strings.CutPrefix(line, name); ok {
				if f := strings.Fields(of); len(f) < 2 || f[0] != value || f[1] != value {
					t.Errorf("%s: got %q, want soft and hard %s", name, strings.TrimSpace(of), value)
				}
				delete(want, name)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
}

// A limit that stands lower is not raised to ours, and is no error.
func TestLowerLimit(t *testing.T) {
	if raceBuild {
		t.Skip("the race detector's own start needs more memory than the lower limit leaves")
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -d 300000; exec "$0" play parent idle all`, self(t))
	pid, rings := startParent[[]string](t, cmd)
	if !slices.Contains(rings, "rlimit") {
		t.Errorf("got the rings %q", rings)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil || !strings.Contains(string(b), " 307200000            307200000 ") {
		t.Errorf("got %v and the limits\n%s", err, b)
	}
}

// Nothing is open but stdio and the runtime's own poller, whatever was.
func TestOpen(t *testing.T) {
	needRoot(t, "others may not look into an undumpable process")
	epoll, err1 := unix.EpollCreate1(0) // none of these closes on exec
	event, err2 := unix.Eventfd(0, 0)
	dir, err3 := unix.Open("/", unix.O_PATH, 0)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range []int{epoll, event, dir} {
			_ = unix.Close(fd)
		}
	})
	for _, role := range []string{"idle", "early"} {
		c := play(t, Options{}, role, allRings)
		hear[any](t, c)
		fds := fmt.Sprintf("/proc/%d/fd/", c.Pid())
		if _, err := os.Readlink(fds + "0"); errors.Is(err, os.ErrPermission) && filtered(t) {
			t.Skip("a container's root without CAP_SYS_PTRACE may not look into an undumpable process")
		}
		entries, err := os.ReadDir(fds)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			to, err := os.Readlink(fds + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(to, "pipe:") {
				to = "pipe"
			}
			got = append(got, to)
		}
		slices.Sort(got)
		if got := strings.Join(got, " "); got != "anon_inode:[eventfd] anon_inode:[eventpoll] pipe pipe pipe" {
			t.Errorf("%s has open: %s", role, got)
		}
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

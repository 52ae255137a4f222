//go:build netem

package qdisc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// patience is for machines that are very busy.
const patience = 3 * time.Minute

// A trial has a target, a folder, and a socket at which processes meet us.
type trial struct {
	t      *testing.T
	name   string // of the namespace
	ns     *netns.Namespace
	before string
	dir    string
	listen net.Listener
	met    chan meeting
	said   bytes.Buffer
}

// A meeting is a process that stands at a step and waits for our answer.
type meeting struct {
	pid  int
	conn net.Conn
}

func newTrial(t *testing.T, n int) *trial {
	t.Helper()
	a, b := scratch.Pair(t)
	tr := &trial{t: t, name: fmt.Sprintf("chaos%d", n), ns: a, dir: t.TempDir(), met: make(chan meeting, 100)}
	t.Cleanup(func() { _ = b.Close() }) // it is open until here: the target's peer answers
	path := filepath.Join("/run/netns", tr.name)
	tr.must(os.WriteFile(path, nil, 0o600))
	tr.must(unix.Mount(fmt.Sprintf("/proc/self/fd/%d", a.Fd()), path, "", unix.MS_BIND, ""))
	t.Cleanup(func() { tr.must(errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path))) })
	tr.before = tr.world()
	var err error
	tr.listen, err = net.Listen("unix", tr.socket())
	tr.must(err)
	t.Cleanup(func() { _ = tr.listen.Close() }) // twice is fine
	go tr.greet()
	return tr
}

func (tr *trial) must(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatalf("%v\n%s", err, &tr.said)
	}
}

func (tr *trial) socket() string { return filepath.Join(tr.dir, "door") }

func (tr *trial) greet() {
	for {
		c, err := tr.listen.Accept()
		if err != nil {
			return
		}
		m := meeting{conn: c}
		var step string
		line, err := bufio.NewReader(c).ReadString('\n')
		if _, scan := fmt.Sscan(strings.TrimSpace(line), &step, &m.pid); err != nil || scan != nil {
			_ = c.Close() // a process that has died on its way
			continue
		}
		tr.met <- m
	}
}

// world is what iproute2 sees in the target's namespace.
func (tr *trial) world() string {
	tr.t.Helper()
	var out []byte
	tr.must(tr.ns.Inside(func() (err error) {
		out, err = exec.Command("tc", "qdisc", "show").CombinedOutput()
		links, linksErr := net.Interfaces()
		for _, l := range links {
			out = fmt.Appendln(out, l.Index, l.Name, l.Flags)
		}
		return errors.Join(err, linksErr)
	}))
	return string(out)
}

func (tr *trial) clean(when string) {
	tr.t.Helper()
	if now := tr.world(); now != tr.before {
		tr.t.Errorf("%s: got\n%s\nwant\n%s\n%s", when, now, tr.before, &tr.said)
	}
}

// start starts a runner. Its name as an argument marks all its processes.
func (tr *trial) start(step string, args ...string) *exec.Cmd {
	tr.t.Helper()
	cmd := exec.Command(os.Getenv("RUNNER"), append(args, "--agent", "local", "--state", filepath.Join(tr.dir, "state"))...)
	cmd.Dir, cmd.WaitDelay = tr.dir, 5*time.Second
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix:///run/no-docker.sock", "RUNNER_FAILPOINT="+step+":meet:"+tr.socket())
	cmd.Stdout, cmd.Stderr = &tr.said, &tr.said
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	fmt.Fprintf(&tr.said, "$ runner %v\n", args)
	tr.must(cmd.Start())
	return cmd
}

// processes are those of the trial that live, as "agent" or "run" says.
func (tr *trial) processes(subcommand string) (pids []int) {
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	tr.must(err)
	for _, path := range paths {
		environ, _ := os.ReadFile(path) // it may have ended
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		args := strings.Split(string(line), "\x00")
		if !bytes.Contains(environ, []byte(":meet:"+tr.socket())) || len(args) < 2 || !strings.HasPrefix(args[1], subcommand) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func kill(pids ...int) {
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
	}
}

func (tr *trial) poll(what string, done func() bool) {
	tr.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			tr.t.Fatalf("waited %v in vain for %s\n%s", patience, what, &tr.said)
		}
	}
}

// write writes the experiment: one fault that the script ends, and one that
// ends with the run.
func (tr *trial) write(site netip.AddrPort) string {
	tr.t.Helper()
	path := filepath.Join(tr.dir, "exp.star")
	tr.must(os.WriteFile(path, fmt.Appendf(nil, `
hypothesis("whatever dies, it comes back")
blast_radius(targets = ["netns:%[1]s"], duration = "2m")
steady_state(baseline = "300ms", within = "2m")
load_ = traffic("http://%[2]s/", arrivals = "5/s", timeout = "20s")
availability = slo("availability", load_.success, min = 0.2, recovers_within = "20s")
abort_if(availability, below = 0.1, lasting = "20s")

def method():
    first = netem("netns:%[1]s", delay = "20ms", direction = "both", peer_port = 81)
    observe("200ms")
    second = netem("netns:%[1]s", loss = "50%%", protocol = "icmp", direction = "in")
    observe("200ms")
    first.undo()
    observe("200ms")
`, tr.name, site), 0o600))
	return path
}

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem/nft"
	"chaosrunner/builtins/fault/netns"
)

// A look is one side of a target's world, beside its state. see puts it in
// words, for the generation whose init process is pid: they must be after a
// trial what they were before. Nothing of the runner is asked.
type look struct {
	name string
	see  func(pid int) (string, error)
}

var looks = []look{
	{"disk", seeDisk},
	{"limits", seeLimits},
	{"processes", seeProcesses},
	{"network", seeNetwork},
}

// seeNetwork tells the tables of ours and the qdiscs in the target's network
// namespace, and whether the kernel hands any of its packets to a queue.
func seeNetwork(pid int) (string, error) {
	ns, err := netns.OfProcess(pid)
	if err != nil {
		return "", err
	}
	defer ns.Close() //nolint:errcheck // read only
	tables, err := nft.List(ns.Fd())
	if err != nil {
		return "", err
	}
	all := []string{fmt.Sprintf("tables %v", tables)}
	err = ns.Inside(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, link := range links {
			qdiscs, err := netlink.QdiscList(link)
			if err != nil {
				return err
			}
			for _, q := range qdiscs {
				all = append(all, fmt.Sprintf("%s %s %s", link.Attrs().Name, q.Type(), netlink.HandleStr(q.Attrs().Handle)))
			}
		}
		queues, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		if os.IsNotExist(err) { // not loaded yet: there is no queue
			err = nil
		}
		all = append(all, fmt.Sprintf("queues %q", strings.TrimSpace(string(queues))))
		return err
	})
	return strings.Join(all, ", "), err
}

// seeDisk tells the free space of the target's own file system, and its files.
func seeDisk(pid int) (string, error) {
	root := fmt.Sprintf("/proc/%d/root%s", pid, dataDir)
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return "", err
	}
	files, err := os.ReadDir(root)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return fmt.Sprintf("%d of %d blocks and %d inodes free, files %v", st.Bfree, st.Blocks, st.Ffree, names), err
}

// limits of a cgroup, by version 1 and 2.
var limits = []string{
	"memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.shares", "cpuset.cpus", "pids.max",
	"blkio.throttle.read_iops_device", "blkio.throttle.write_bps_device",
	"memory.max", "memory.high", "cpu.max", "cpu.weight", "io.max",
}

// seeLimits tells the limits of the target's cgroups.
func seeLimits(pid int) (string, error) {
	dirs, err := cgroups(pid)
	if err != nil {
		return "", err
	}
	var all []string
	for _, dir := range dirs {
		for _, name := range limits {
			if raw, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				all = append(all, name+"="+strings.TrimSpace(string(raw)))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " "), nil
}

// seeProcesses tells what runs in the target, health checks aside. A process
// that is about to become another is waited for.
func seeProcesses(pid int) (string, error) {
	dirs, err := cgroups(pid)
	if err != nil {
		return "", err
	}
	for until := time.Now().Add(patience); ; time.Sleep(between / 10) {
		all, ready := processes(dirs)
		if ready {
			return strings.Join(all, ", "), nil
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil || time.Now().After(until) {
			return "", fmt.Errorf("its processes: got %v", all)
		}
	}
}

// processes are the command lines in the first of the cgroups that there is.
// ready is false while there is none, or one that has yet to become the
// target's: the engine's helper before its exec.
func processes(dirs []string) (all []string, ready bool) {
	for _, dir := range dirs {
		raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // of a controller that is not there
		}
		ready = true
		for _, p := range strings.Fields(string(raw)) {
			line, err := os.ReadFile("/proc/" + p + "/cmdline")
			words := strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
			switch {
			case err != nil || words == "" || words == "/app health": // it is over, or a health check
			case strings.HasPrefix(words, "runc") || strings.HasPrefix(words, "/proc/self/"):
				ready = false
			default:
				all = append(all, words)
			}
		}
		break
	}
	slices.Sort(all)
	return all, ready && len(all) > 0
}

// cgroups has the folders of a process's cgroups.
func cgroups(pid int) (dirs []string, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 || !strings.Contains(parts[2], "docker") {
			continue
		}
		for _, controller := range append(strings.Split(parts[1], ","), parts[1]) {
			dirs = append(dirs, filepath.Join("/sys/fs/cgroup", controller, parts[2]))
		}
	}
	return dirs, nil
}

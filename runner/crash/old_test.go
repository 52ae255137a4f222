package crash

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
)

// Every trial's folder and mark begin with the number of its test's process.
var (
	markOf = regexp.MustCompile(`^RUNNER_FAILPOINT=.*/(\d+)-[\d-]+\.door`)
	dirOf  = regexp.MustCompile(`runnercrash-(\d+)-`)
)

// killed says whether a mark or a folder is that of a test that is no more.
func killed(of *regexp.Regexp, text string) bool {
	found := of.FindStringSubmatch(text)
	if found == nil {
		return false
	}
	_, err := os.Stat("/proc/" + found[1])
	return os.IsNotExist(err)
}

// sweepOld removes what sweeps have left that were killed: processes, stopped
// ones among them, containers of agents, and folders. The targets are
// enginetest's to remove.
func sweepOld(t *testing.T, engine *client.Client) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		raw, _ := os.ReadFile(file) // of one that has just ended
		for v := range strings.SplitSeq(string(raw), "\x00") {
			if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil && killed(markOf, v) {
				p := hold(pid)
				p.signal(unix.SIGKILL)
				p.close()
			}
		}
	}
	left, err := engine.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "chaosrunner.agent"))})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range left {
		c, err := engine.ContainerInspect(t.Context(), k.ID)
		if err != nil {
			continue // it has ended
		}
		for _, v := range c.Config.Env {
			if killed(markOf, v) {
				_ = engine.ContainerRemove(t.Context(), k.ID, container.RemoveOptions{Force: true}) // it may be ending
			}
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "runnercrash-*"))
	for _, dir := range dirs {
		if killed(dirOf, dir) {
			_ = os.RemoveAll(dir) // the next sweep tries again
		}
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

func took(b *testing.B, path string, args ...string) time.Duration {
	b.Helper()
	began := time.Now()
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", path, args, err, out)
	}
	return time.Since(began)
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// BenchmarkCheck is `runner check` of the first experiment beside the bare start
// of the same binary, in turn.
func BenchmarkCheck(b *testing.B) {
	path, err := binary()
	if err != nil {
		b.Fatal(err)
	}
	var checks, bare []time.Duration
	for b.Loop() {
		bare = append(bare, took(b, path, "--version"))
		checks = append(checks, took(b, path, "check", "../experiments/exp1.star"))
	}
	b.ReportMetric(ms(median(bare)), "ms-bare-start")
	b.ReportMetric(ms(median(checks)), "ms-check")
	b.ReportMetric(float64(median(checks))/float64(median(bare)), "check/bare")
}

// BenchmarkSupervisorDeath is SIGKILL of a real supervisor in the middle of a
// real run, to the moment its agent begins the undo and to its end, as the agent
// dates them; beside the bare start of the same container.
func BenchmarkSupervisorDeath(b *testing.B) {
	var begins, undos, ends, bare []time.Duration
	var size int64
	for b.Loop() {
		l := &lab{t: b, dir: b.TempDir()}
		l.web = enginetest.Run(b, enginetest.Options{Network: "bridge"}).Ready()
		l.victim = enginetest.Run(b, enginetest.Options{})
		l.underFault(l.script(l.web, `kill("`+l.victim.Name+`")`, `observe("60s")`))
		size = max(size, rss(l.pid("supervisor")))
		died := time.Now()
		l.signal("supervisor", syscall.SIGKILL)
		l.victim.WaitFor("up", enginetest.Up)
		l.gone()
		var dead []protocol.Abandoned
		if err := json.Unmarshal([]byte(l.once(0, "recover", "--json")), &dead); err != nil {
			b.Fatal(err)
		}
		if len(dead) != 1 || len(dead[0].Results) != 1 {
			b.Fatalf("got %+v, want one run with one fault", dead)
		}
		u := dead[0].Results[0]
		begins, undos, ends = append(begins, u.Began.Sub(died)), append(undos, u.Ended.Sub(u.Began)), append(ends, u.Ended.Sub(died))
		l.victim.Kill()
		began := time.Now()
		l.victim.Start()
		bare = append(bare, time.Since(began))
		l.victim.Remove()
		l.web.Remove()
	}
	b.ReportMetric(ms(median(begins)), "ms-to-undo-begins")
	b.ReportMetric(ms(begins[len(begins)-1]), "ms-to-undo-begins-worst")
	b.ReportMetric(ms(median(undos)), "ms-undo")
	b.ReportMetric(ms(median(bare)), "ms-bare-start")
	b.ReportMetric(ms(median(ends)-median(bare)), "ms-to-undone-above-bare")
	b.ReportMetric(float64(size)/(1<<20), "MiB-supervisor")
}

// rss is the memory of a process in bytes.
func rss(pid int) int64 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer file.Close() //nolint:errcheck // read only
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var kb int64
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			if _, err := fmt.Sscan(rest, &kb); err == nil {
				return kb << 10
			}
		}
	}
	return 0
}

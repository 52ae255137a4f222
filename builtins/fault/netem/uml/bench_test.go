package uml

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// BenchmarkInside runs the engine's benchmarks in a guest, and reports them as
// its own. Programs start slowly there, so that nsenter and tc look worse than
// they are elsewhere; netlink does not.
func BenchmarkInside(b *testing.B) {
	need(b)
	ctx, cancel := deadline(b)
	defer cancel()
	g := Guest{Dir: b.TempDir(), Modules: modules, NoXState: Oversized()}
	job := Job{
		Name: inside[0], Dir: filepath.Join(moduleRoot(b), inside[0]), Binary: filepath.Join(g.Dir, "bench.test"), Timeout: 24 * time.Hour,
		Args: []string{"-test.run=^$", "-test.bench=.", "-test.benchtime=3x"},
	}
	build(b, job.Binary, job.Dir)
	g.Jobs = []Job{job}
	results, err := g.Boot(ctx)
	if err != nil || results[0].Status != "exit 0" {
		b.Fatalf("got status %q, error %v\n%s", results[0].Status, err, results[0].Output)
	}
	found := benched.FindAllSubmatch(results[0].Output, -1)
	if len(found) == 0 {
		b.Fatalf("no benchmark has run:\n%s", results[0].Output)
	}
	for _, f := range found {
		ns, err := strconv.ParseFloat(string(f[2]), 64)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(bytes.TrimPrefix(f[1], []byte("Benchmark"))), func(b *testing.B) {
			b.ReportMetric(ns, "ns/op")
		})
	}
	b.Logf("in the guest:\n%s", results[0].Output)
}

var benched = regexp.MustCompile(`(?m)^(Benchmark\S+?)(?:-\d+)?\s+\d+\s+([0-9.e+]+) ns/op`)

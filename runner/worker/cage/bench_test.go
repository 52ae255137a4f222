package cage

import (
	"os/exec"
	"slices"
	"testing"
	"time"
)

// BenchmarkStart starts this binary bare and in the cage by turns, to its first
// word, and tells the medians and their ratio.
func BenchmarkStart(b *testing.B) {
	var bare, caged, inside []float64
	for b.Loop() {
		begin := time.Now()
		end := startBare(b)
		bare = append(bare, since(begin))
		end()

		begin = time.Now()
		c := play(b, Options{}, "bench")
		enter := hear[time.Duration](b, c)
		caged = append(caged, since(begin))
		inside = append(inside, enter.Seconds()*1e3)
		_ = c.Stdin.Close()
		c.Wait()
		_ = c.Stdout.Close()
	}
	b.ReportMetric(median(bare), "bare-ms")
	b.ReportMetric(median(caged), "caged-ms")
	b.ReportMetric(median(inside), "Enter-ms")
	b.ReportMetric(median(caged)/median(bare), "caged/bare")
	b.ReportMetric(0, "ns/op")
}

func since(begin time.Time) float64 { return time.Since(begin).Seconds() * 1e3 }

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

func playBench([]string) {
	begin := time.Now()
	mustEnter(allRings)
	say(time.Since(begin))
	linger()
}

// startBare returns at the first word.
func startBare(b *testing.B) (end func()) {
	b.Helper()
	cmd := exec.Command(self(b), "play", "bare")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := readLine(out); err != nil {
		b.Fatal(err)
	}
	return func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
}

package cage

import (
	"io"
	"os/exec"
	"testing"
	"time"
)

// BenchmarkStart starts this binary bare and in the cage by turns, to its first
// word, and tells the ratio.
func BenchmarkStart(b *testing.B) {
	var bare, caged, inside time.Duration
	n := 0
	for b.Loop() {
		begin := time.Now()
		startBare(b)
		bare += time.Since(begin)

		begin = time.Now()
		c := play(b, Options{}, "bench")
		inside += hear[time.Duration](b, c)
		caged += time.Since(begin)
		_ = c.Stdin.Close()
		c.Wait()
		_ = c.Stdout.Close()
		n++
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 / float64(n) }
	b.ReportMetric(ms(bare), "bare-ms")
	b.ReportMetric(ms(caged), "caged-ms")
	b.ReportMetric(ms(inside), "Enter-ms")
	b.ReportMetric(float64(caged)/float64(bare), "caged/bare")
	b.ReportMetric(0, "ns/op")
}

func playBench([]string) {
	begin := time.Now()
	mustEnter(allRings)
	say(time.Since(begin))
	linger()
}

// startBare returns at the first word, and waits for the end on the side of
// the clock that does not count.
func startBare(b *testing.B) {
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
	_ = in.Close()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
}

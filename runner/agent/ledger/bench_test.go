package ledger

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkIntent is the write-ahead record of one fault beside a bare append
// of as many bytes with fdatasync to another file of the same folder, in turn.
func BenchmarkIntent(b *testing.B) {
	dir := b.TempDir()
	l := create(b, dir, "r1")
	bare, err := os.Create(filepath.Join(dir, "bare"))
	must(b, err)
	defer bare.Close() //nolint:errcheck // a benchmark's
	in := anIntent("f0")
	line, err := encode(record{What: intent, At: in.At, Intent: &in})
	must(b, err)
	line = bytes.TrimRight(line, "\n")
	var ours, theirs []time.Duration
	for n := 0; b.Loop(); n++ {
		id := fmt.Sprint("f", n)
		began := time.Now()
		must(b, l.Intent(anIntent(id)))
		ours = append(ours, time.Since(began))
		began = time.Now()
		_, err := bare.Write(line)
		must(b, err, datasync(bare))
		theirs = append(theirs, time.Since(began))
		must(b, l.Applied(id), l.Undoing(id), l.Undone(result(id, "")))
	}
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/2])
	}
	b.ReportMetric(median(ours)/1e3, "µs/intent")
	b.ReportMetric(median(theirs)/1e3, "µs/bare-append")
	b.ReportMetric(median(ours)/median(theirs), "intent/bare")
}

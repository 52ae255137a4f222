package sli

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// csvHeader names the columns. ok is "true", "false", or empty for an arrival
// of which nothing is known; seq is empty for one that was never sent.
var csvHeader = []string{"seq", "sent_unix_ns", "latency_ns", "status", "ok", "error"}

// csvWriter follows Results and writes each as a line. It never stands in the
// way of the traffic: what it has not written yet is still in Results, and
// what a full disk (a fault fills one) refused is tried again, byte for byte,
// at the next flush.
type csvWriter struct {
	mu      sync.Mutex
	rs      *Results
	w       io.Writer
	next    int64        // the first result not encoded yet
	pending bytes.Buffer // encoded, not written
	err     error        // of the last write
}

const csvBatch = 4096 // results encoded at a time

func newCSVWriter(rs *Results, w io.Writer) *csvWriter {
	c := &csvWriter{rs: rs, w: w}
	enc := csv.NewWriter(&c.pending)
	_ = enc.Write(csvHeader) // into memory
	enc.Flush()
	return c
}

// flush writes all there is, or until the writer refuses.
func (c *csvWriter) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if _, c.err = c.pending.WriteTo(c.w); c.err != nil {
			return fmt.Errorf("sli: writing the results of %s: %w", c.rs.name, c.err)
		}
		if n := c.rs.encode(&c.pending, c.next, csvBatch); n == 0 {
			return nil
		} else {
			c.next += n
		}
	}
}

// encode appends up to limit results as CSV, from the one at index from.
func (rs *Results) encode(out *bytes.Buffer, from, limit int64) int64 {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	n := min(limit, rs.n-from)
	enc := csv.NewWriter(out)
	for i := from; i < from+n; i++ {
		r := rs.blocks[i/resultsPerBlock].results[i%resultsPerBlock]
		line := []string{"", strconv.FormatInt(r.sent, 10), strconv.FormatInt(r.latency, 10), strconv.Itoa(int(r.code)), "", rs.errs[r.err]}
		if r.seq != noSeq {
			line[0] = strconv.FormatUint(uint64(r.seq), 10)
		}
		if r.outcome != unknown {
			line[4] = strconv.FormatBool(r.outcome == ok)
		}
		_ = enc.Write(line) // into memory
	}
	enc.Flush()
	return n
}

// ReadResults reads what a traffic or probe of that name wrote as CSV, so that
// a report can be made from a run's files alone.
func ReadResults(name string, r io.Reader) (*Results, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = len(csvHeader)
	in.ReuseRecord = true
	rs := newResults(name, 0, 1<<62, nil)
	for n := 1; ; n++ {
		line, err := in.Read()
		if err == io.EOF {
			return rs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("sli: results of %s: %w", name, err)
		}
		if n == 1 {
			continue
		}
		res, err := readResult(line)
		if err != nil {
			return nil, fmt.Errorf("sli: results of %s: line %d: %w", name, n, err)
		}
		rs.record(res, line[5])
	}
}

func readResult(line []string) (r result, err error) {
	if r.sent, err = strconv.ParseInt(line[1], 10, 64); err != nil {
		return r, err
	}
	if r.latency, err = strconv.ParseInt(line[2], 10, 64); err != nil {
		return r, err
	}
	code, err := strconv.ParseUint(line[3], 10, 16)
	if err != nil {
		return r, err
	}
	r.code, r.seq = uint16(code), noSeq
	if line[0] != "" {
		seq, err := strconv.ParseUint(line[0], 10, 32)
		if err != nil {
			return r, err
		}
		r.seq = uint32(seq)
	}
	switch line[4] {
	case "true":
		r.outcome = ok
	case "false":
		r.outcome = failed
	case "":
		r.outcome = unknown
	default:
		return r, fmt.Errorf("got ok %q, want true, false or nothing", line[4])
	}
	return r, nil
}

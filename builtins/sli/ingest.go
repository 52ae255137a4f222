package sli

import (
	"fmt"
	"io"
	"time"
)

// Ingest reads one exposition of a source, scraped at t, and returns how many
// samples it had. extra are the labels of the source ("instance", "service").
// It is all or nothing: what cannot be read whole (garbage, a body over
// Limits.Body, a series twice, a full store) adds nothing and counts as a
// failed scrape, as with Fail. A series that the source no longer exposes ends
// with a stale marker. A timestamp in the exposition is kept, but one after t
// is taken as t: nothing can be newer than its own reading.
func (st *Store) Ingest(source string, t time.Time, contentType string, body io.Reader, extra map[string]string) (n int, err error) {
	ms := t.UnixMilli()
	exp, err := st.read(contentType, body, ms)
	st.mu.Lock()
	defer st.mu.Unlock()
	src := st.source(source)
	if err == nil {
		n, err = st.commit(src, ms, exp, extra)
	}
	if err != nil {
		st.fail(src, ms, err)
		return 0, fmt.Errorf("sli: metrics of %s: %w", source, err)
	}
	for name, f := range exp.families {
		if old, ok := st.families[name]; ok && old.kind != f.kind {
			f.kind = "unknown" // two sources disagree; neither is right for both
		}
		st.families[name] = f
	}
	src.succeeded(ms, n)
	st.up(src, ms, 1)
	return n, nil
}

func (st *Store) read(contentType string, body io.Reader, t int64) (exposition, error) {
	b, err := io.ReadAll(io.LimitReader(body, st.limits.Body+1))
	if err != nil {
		return exposition{}, fmt.Errorf("reading: %w", err)
	}
	if int64(len(b)) > st.limits.Body {
		return exposition{}, fmt.Errorf("got more than %d bytes: is this a metrics path?", st.limits.Body)
	}
	return parse(b, contentType, t)
}

// commit looks everything up first and writes only when all of it fits.
func (st *Store) commit(src *source, t int64, exp exposition, extra map[string]string) (int, error) {
	if last := max(src.success, src.failure); t <= last {
		return 0, fmt.Errorf("out of order: got a scrape at %d ms, want one after %d ms", t, last)
	}
	if st.samples+int64(len(exp.samples)) > st.limits.Samples {
		return 0, fmt.Errorf("%w: %d samples: scrape fewer endpoints, or less often with metrics(interval = …)", ErrFull, st.samples)
	}
	src.gen++
	born := src.firstSuccess != 0
	into := make([]*series, len(exp.samples))
	for i, in := range exp.samples {
		s, err := st.getOrCreate(src, buildLabels(in.name, in.labels, extra))
		if err == nil && s.seen == src.gen {
			err = fmt.Errorf("series %s is exposed twice", s.labels)
		}
		if err != nil {
			st.dropEmpty(src)
			return 0, err
		}
		s.seen, into[i] = src.gen, s
	}
	for i, in := range exp.samples {
		s, ts := into[i], min(in.t, t)
		if s.empty() {
			s.born = born
		} else if ts <= s.last {
			continue // an exposition's own timestamp: the same sample again, or an older one
		}
		if err := st.append(s, ts, in.v); err != nil {
			return 0, err
		}
	}
	for _, s := range src.series {
		if s.seen != src.gen {
			st.mark(s, t)
		}
	}
	return len(exp.samples), nil
}

// dropEmpty takes back the series that a refused exposition created.
func (st *Store) dropEmpty(src *source) {
	keep := src.series[:0]
	for _, s := range src.series {
		if !s.empty() {
			keep = append(keep, s)
			continue
		}
		h := s.labels.Hash()
		st.byHash[h] = without(st.byHash[h], s)
		st.byName[s.name] = without(st.byName[s.name], s)
		if len(st.byHash[h]) == 0 {
			delete(st.byHash, h)
		}
		if len(st.byName[s.name]) == 0 {
			delete(st.byName, s.name)
		}
		st.series--
	}
	clear(src.series[len(keep):])
	src.series = keep
}

func without(list []*series, s *series) []*series {
	out := list[:0:0]
	for _, x := range list {
		if x != s {
			out = append(out, x)
		}
	}
	return out
}

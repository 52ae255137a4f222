package sli

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Limits bound what a Store holds. Zero fields take the defaults.
type Limits struct {
	Series  int   // label sets; default 20,000
	Samples int64 // samples in all; default 10,000,000 (20 to 90 MB, by how much they change)
	Body    int64 // bytes of one exposition; default 4 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Series <= 0 {
		l.Series = 20_000
	}
	if l.Samples <= 0 {
		l.Samples = 10_000_000
	}
	if l.Body <= 0 {
		l.Body = 4 << 20
	}
	return l
}

// ErrFull is wrapped by errors that say a limit of the store was reached.
var ErrFull = errors.New("store is full")

// Runner is the source that owns what Append writes.
const Runner = "runner"

// Store holds the series of a run in memory and answers promql over them. It
// is safe for concurrent use. Times are wall-clock times that never step back
// (see Clock); a sample that is not newer than its series' last is refused.
type Store struct {
	limits Limits

	mu       sync.RWMutex
	byHash   map[uint64][]*series
	byName   map[string][]*series
	sources  map[string]*source
	families map[string]family
	series   int
	samples  int64
}

// NewStore returns an empty store.
func NewStore(l Limits) *Store {
	return &Store{
		limits:   l.withDefaults(),
		byHash:   map[uint64][]*series{},
		byName:   map[string][]*series{},
		sources:  map[string]*source{},
		families: map[string]family{},
	}
}

// Append adds one sample of the runner's own. A series that Append creates is
// taken to have begun at zero.
func (st *Store) Append(name string, lbls map[string]string, t time.Time, v float64) error {
	return st.AppendAll(t, Sample{Name: name, Labels: lbls, V: v})
}

// Sample is one of the runner's own numbers.
type Sample struct {
	Name   string
	Labels map[string]string
	V      float64
}

// AppendAll adds samples of one moment, all or, past a limit, as many as fit.
func (st *Store) AppendAll(t time.Time, samples ...Sample) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	src, ms := st.source(Runner), t.UnixMilli()
	src.succeeded(ms, len(samples))
	for _, in := range samples {
		s, err := st.getOrCreate(src, buildLabels(in.Name, in.Labels, nil))
		if err != nil {
			return err
		}
		s.born = true
		if err := st.append(s, ms, in.V); err != nil {
			return err
		}
	}
	return nil
}

// append adds a sample under the lock, keeping order and limits.
func (st *Store) append(s *series, t int64, v float64) error {
	if !s.empty() && t <= s.last {
		return fmt.Errorf("sli: out of order: %s: got a sample at %d ms, want one after %d ms", s.labels, t, s.last)
	}
	if st.samples >= st.limits.Samples {
		return fmt.Errorf("sli: %w: %d samples: scrape fewer endpoints, or less often with metrics(interval = …)", ErrFull, st.samples)
	}
	st.samples++
	return s.append(t, v)
}

// mark ends a live series. Markers are bounded by the samples between them,
// so the sample limit does not hold them back: the end must always be seen.
func (st *Store) mark(s *series, t int64) {
	if !s.live {
		return
	}
	st.samples++
	_ = s.append(max(t, s.last+1), staleNaN) // only a fresh XOR chunk's Appender can fail, and it cannot
}

func (st *Store) getOrCreate(src *source, lset labels.Labels) (*series, error) {
	hash := lset.Hash()
	for _, s := range st.byHash[hash] {
		if !labels.Equal(s.labels, lset) {
			continue
		}
		if s.src != src {
			return nil, fmt.Errorf("sli: series %s: got it from %s, but %s exposes it too: give the sources labels that differ", lset, src.name, s.src.name)
		}
		return s, nil
	}
	if st.series >= st.limits.Series {
		return nil, fmt.Errorf("sli: %w: %d series, and %s exposes more: scrape fewer endpoints", ErrFull, st.series, src.name)
	}
	s := &series{labels: lset, name: lset.Get(model.MetricNameLabel), src: src}
	st.byHash[hash] = append(st.byHash[hash], s)
	st.byName[s.name] = append(st.byName[s.name], s)
	src.series = append(src.series, s)
	st.series++
	return s, nil
}

// Stats says how full the store is.
func (st *Store) Stats() (series int, samples int64) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.series, st.samples
}

// buildLabels joins a name, the labels as exposed and the labels of the
// source. As in Prometheus, a source's label wins and the exposed one becomes
// exported_<name>; empty values are no labels.
func buildLabels(name string, exposed, extra map[string]string) labels.Labels {
	b := labels.NewScratchBuilder(len(exposed) + len(extra) + 1)
	b.Add(model.MetricNameLabel, name)
	for k, v := range extra {
		if v != "" {
			b.Add(k, v)
		}
	}
	for k, v := range exposed {
		if v == "" || k == model.MetricNameLabel {
			continue
		}
		for taken := extra[k] != ""; taken; taken = extra[k] != "" || exposed[k] != "" {
			k = "exported_" + k
		}
		b.Add(k, canonical(k, v))
	}
	b.Sort()
	return b.Labels()
}

// canonical writes the numbers in le and quantile one way, whatever the
// exposition format ("1.0" in OpenMetrics, "1" in the text format), so that
// both le="1" and le="1.0" select them.
func canonical(label, v string) string {
	if label != model.BucketLabel && label != model.QuantileLabel {
		return v
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return v
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

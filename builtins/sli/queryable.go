package sli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Querier makes the store a storage.Queryable, as much of one as promql uses.
// mint and maxt are Unix milliseconds, both included.
func (st *Store) Querier(mint, maxt int64) (storage.Querier, error) {
	return querier{st, mint, maxt}, nil
}

// find returns the series that match, as they are now.
func (st *Store) find(matchers []*labels.Matcher) []view { return st.findEach(matchers)[0] }

// findEach does so for several selectors at one moment: a good and a total of
// which only one has the scrape that is just coming in would not fit together.
func (st *Store) findEach(selectors ...[]*labels.Matcher) [][]view {
	out := make([][]view, len(selectors))
	st.mu.RLock()
	defer st.mu.RUnlock()
	for i, matchers := range selectors {
		out[i] = st.match(canonicalMatchers(matchers))
	}
	return out
}

func (st *Store) match(matchers []*labels.Matcher) []view {
	var out []view
	collect := func(list []*series) {
		for _, s := range list {
			if !s.empty() && matches(s.labels, matchers) {
				out = append(out, s.view())
			}
		}
	}
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			collect(st.byName[m.Value])
			return out
		}
	}
	for _, list := range st.byName {
		collect(list)
	}
	return out
}

func matches(lset labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(lset.Get(m.Name)) {
			return false
		}
	}
	return true
}

// canonicalMatchers lets le="1.0" find what is stored as le="1".
func canonicalMatchers(in []*labels.Matcher) []*labels.Matcher {
	out := slices.Clone(in)
	for i, m := range out {
		if m.Type != labels.MatchEqual && m.Type != labels.MatchNotEqual {
			continue
		}
		if v := canonical(m.Name, m.Value); v != m.Value {
			out[i] = labels.MustNewMatcher(m.Type, m.Name, v)
		}
	}
	return out
}

type querier struct {
	st         *Store
	mint, maxt int64
}

func (q querier) Select(_ context.Context, sorted bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	views := q.st.find(matchers)
	if sorted {
		slices.SortFunc(views, func(a, b view) int { return labels.Compare(a.labels, b.labels) })
	}
	return &seriesSet{views: views, mint: q.mint, maxt: q.maxt, i: -1}
}

func (q querier) LabelValues(_ context.Context, name string, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	set := map[string]bool{}
	for _, v := range q.st.find(matchers) {
		if s := v.labels.Get(name); s != "" {
			set[s] = true
		}
	}
	return slices.Sorted(maps.Keys(set)), nil, nil
}

func (q querier) LabelNames(_ context.Context, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	set := map[string]bool{}
	for _, v := range q.st.find(matchers) {
		v.labels.Range(func(l labels.Label) { set[l.Name] = true })
	}
	return slices.SortedFunc(maps.Keys(set), strings.Compare), nil, nil
}

func (q querier) Close() error { return nil }

type seriesSet struct {
	views      []view
	mint, maxt int64
	i          int
}

func (s *seriesSet) Next() bool                        { s.i++; return s.i < len(s.views) }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

func (s *seriesSet) At() storage.Series {
	v, mint, maxt := s.views[s.i], s.mint, s.maxt
	return &storage.SeriesEntry{
		Lset: v.labels,
		SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
			return storage.NewListSeriesIterator(points(v.points(mint, maxt)))
		},
	}
}

// points gives promql's list iterator the decoded samples of one window.
type points []point

func (p points) Len() int                { return len(p) }
func (p points) Get(i int) chunks.Sample { return &p[i] }

func (p *point) T() int64                      { return p.t }
func (p *point) F() float64                    { return p.v }
func (p *point) ST() int64                     { return 0 }
func (p *point) H() *histogram.Histogram       { return nil }
func (p *point) FH() *histogram.FloatHistogram { return nil }
func (p *point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p *point) Copy() chunks.Sample           { c := *p; return &c }

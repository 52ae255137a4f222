package sli

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// WriteOpenMetrics writes every sample with its timestamp as OpenMetrics 1.0
// text, which `promtool tsdb create-blocks-from openmetrics` can load into a
// Prometheus server. Stale markers have no form in that format and are left
// out; runner_scrape_up has the scrapes that failed.
func (st *Store) WriteOpenMetrics(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	for _, f := range st.byFamily() {
		name := quoteName(f.name)
		if f.help != "" {
			fmt.Fprintf(out, "# HELP %s %s\n", name, escape.Replace(f.help))
		}
		fmt.Fprintf(out, "# TYPE %s %s\n", name, f.kind)
		for _, group := range f.groups() {
			writeGroup(out, group)
		}
	}
	fmt.Fprintln(out, "# EOF")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("sli: writing OpenMetrics: %w", err)
	}
	return nil
}

// omFamily is a family as OpenMetrics names it: a counter's has no _total.
type omFamily struct {
	name string
	family
	views []view
}

func (st *Store) byFamily() []*omFamily {
	st.mu.RLock()
	defer st.mu.RUnlock()
	found := map[string]*omFamily{}
	for _, name := range sortedKeys(st.byName) {
		om := st.familyOf(name)
		if have := found[om.name]; have != nil && have.kind != om.kind {
			om = omFamily{name: name, family: family{model.MetricTypeUnknown, om.help}}
		}
		f := found[om.name]
		if f == nil {
			f = &om
			found[om.name] = f
		}
		for _, s := range st.byName[name] {
			if !s.empty() {
				f.views = append(f.views, s.view())
			}
		}
	}
	out := make([]*omFamily, 0, len(found))
	for _, name := range sortedKeys(found) {
		if len(found[name].views) > 0 {
			out = append(out, found[name])
		}
	}
	return out
}

// familyOf finds the family of a sample name. What OpenMetrics would not
// allow under its type (a counter without _total, a gauge histogram in the
// text format's spelling) is written as unknown rather than renamed: a query
// has to find in the file the name it found in the run.
func (st *Store) familyOf(name string) omFamily {
	unknown := omFamily{name: name, family: family{kind: model.MetricTypeUnknown}}
	if f, ok := st.families[name]; ok {
		unknown.help = f.help
		switch f.kind {
		case model.MetricTypeCounter:
			if base, ok := strings.CutSuffix(name, "_total"); ok {
				return omFamily{name: base, family: f}
			}
			return unknown
		case model.MetricTypeGauge, model.MetricTypeSummary, model.MetricTypeStateset:
			return omFamily{name: name, family: f}
		}
		return unknown
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count", "_total", "_created", "_info"} {
		base, ok := strings.CutSuffix(name, suffix)
		if f, known := st.families[base]; ok && known && slices.Contains(suffixes[f.kind], suffix) {
			return omFamily{name: base, family: f}
		}
	}
	return unknown
}

var suffixes = map[model.MetricType][]string{
	model.MetricTypeCounter:   {"_total", "_created"},
	model.MetricTypeHistogram: {"_bucket", "_sum", "_count", "_created"},
	model.MetricTypeSummary:   {"_sum", "_count", "_created"},
	model.MetricTypeInfo:      {"_info"},
}

// groups splits a family into what OpenMetrics calls metrics: the series that
// share all labels but le and quantile, in the order of one histogram's lines.
func (f *omFamily) groups() [][]view {
	byKey := map[string][]view{}
	for _, v := range f.views {
		key := v.labels.MatchLabels(false, model.MetricNameLabel, model.BucketLabel, model.QuantileLabel).String()
		byKey[key] = append(byKey[key], v)
	}
	out := make([][]view, 0, len(byKey))
	for _, key := range sortedKeys(byKey) {
		g := byKey[key]
		slices.SortFunc(g, func(a, b view) int {
			return cmp.Or(
				cmp.Compare(a.labels.Get(model.MetricNameLabel), b.labels.Get(model.MetricNameLabel)),
				cmp.Compare(a.bound(), b.bound()))
		})
		out = append(out, g)
	}
	return out
}

// bound is the number in le or quantile; NaN where there is none.
func (v view) bound() float64 {
	s := v.labels.Get(model.BucketLabel)
	if s == "" {
		s = v.labels.Get(model.QuantileLabel)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

// writeGroup writes a metric point by point, oldest first.
func writeGroup(out *bufio.Writer, group []view) {
	names, points := make([]string, len(group)), make([][]point, len(group))
	for i, v := range group {
		names[i] = seriesText(v.labels)
		points[i] = v.points(math.MinInt64, math.MaxInt64)
	}
	for {
		t, more := int64(math.MaxInt64), false
		for _, ps := range points {
			if len(ps) > 0 {
				t, more = min(t, ps[0].t), true
			}
		}
		if !more {
			return
		}
		for i, ps := range points {
			if len(ps) == 0 || ps[0].t != t {
				continue
			}
			if points[i] = ps[1:]; !ps[0].stale() {
				fmt.Fprintf(out, "%s %s %d.%03d\n", names[i], floatText(ps[0].v), t/1000, t%1000)
			}
		}
	}
}

func floatText(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// quoteName quotes a name that is none in the classic character set.
func quoteName(s string) string {
	if model.LegacyValidation.IsValidMetricName(s) {
		return s
	}
	return `"` + escape.Replace(s) + `"`
}

func seriesText(lset labels.Labels) string {
	name, inside := lset.Get(model.MetricNameLabel), []string(nil)
	outside := name
	if !model.LegacyValidation.IsValidMetricName(name) {
		outside, inside = "", append(inside, quoteName(name))
	}
	lset.Range(func(l labels.Label) {
		if l.Name == model.MetricNameLabel {
			return
		}
		k := l.Name
		if !model.LegacyValidation.IsValidLabelName(k) {
			k = `"` + escape.Replace(k) + `"`
		}
		inside = append(inside, k+`="`+escape.Replace(l.Value)+`"`)
	})
	if len(inside) == 0 {
		return outside
	}
	return outside + "{" + strings.Join(inside, ",") + "}"
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

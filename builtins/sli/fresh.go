package sli

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"chaosrunner/builtins/spec"
)

// Never is the age of data that there has never been.
const Never = time.Duration(math.MaxInt64)

// Fresh says for how long new data behind an SLI has been overdue at now, and
// why: the time since the newest data less the one interval after which more
// was due anyway (the scrape interval; the time between two arrivals of a slow
// probe), and not below zero. The watcher aborts on 3 s of it.
//
// Only the sources whose series the SLI reads count, and of those the one
// longest dead: a sum over two replicas of which one cannot be read is not the
// sum. Series that a healthy source has stopped to expose do not make it old
// (an error counter may be gone after a restart); where nothing is left to
// read, Value says so.
func (e *Evaluator) Fresh(ctx context.Context, s spec.SLI, now time.Time) (time.Duration, string) {
	var queries []string
	switch s.Kind {
	case spec.KindRatio:
		queries = []string{s.Good, s.Total}
	case spec.KindQuantile:
		queries = []string{s.Histogram}
	case spec.KindPromQL:
		queries = []string{s.Query}
	default:
		rs, err := e.resultsOf(s)
		if err != nil {
			return Never, err.Error()
		}
		return rs.fresh(now)
	}
	var selectors []*parser.VectorSelector
	onServer := false
	for _, q := range queries {
		selectors = append(selectors, selectorsIn(q)...)
		onServer = onServer || e.onServer(q)
	}
	if onServer {
		ctx, cancel := context.WithTimeout(ctx, e.Timeout)
		defer cancel()
		return e.Prometheus.fresh(ctx, selectors, now)
	}
	age, why, matched := time.Duration(0), "", false
	for _, vs := range selectors {
		a, y, found := e.Store.age(vs.LabelMatchers, now)
		matched = matched || found
		if a > age {
			age, why = a, y
		}
	}
	if !matched {
		return Never, e.Store.whyNone(now, selectors...)
	}
	if age -= e.Interval; age <= 0 {
		return 0, ""
	}
	return age, why
}

// age is how old the newest data of the selected series is, by the worst of
// the sources that own them.
func (st *Store) age(matchers []*labels.Matcher, now time.Time) (age time.Duration, why string, matched bool) {
	views, ms := st.find(matchers), now.UnixMilli()
	st.mu.RLock()
	defer st.mu.RUnlock()
	for _, v := range views {
		matched = true
		a, y := int64(0), ""
		switch {
		case v.src.failingSince != 0:
			a, y = ms-v.src.success, v.src.complaint(ms)
		case v.live:
			a = ms - v.last
			y = fmt.Sprintf("the newest sample of %s, from %s, is %s old", v.labels, v.src.name, ago(a))
		default: // no longer exposed; is its source still read?
			a = ms - v.src.success
			y = fmt.Sprintf("%s was last scraped %s ago", v.src.name, ago(a))
		}
		if d := time.Duration(a) * time.Millisecond; d > age {
			age, why = d, y
		}
	}
	return age, why, matched
}

// whyNone says why selectors yield nothing at now: their sources fail, or the
// series have ended, or nothing has ever matched.
func (st *Store) whyNone(now time.Time, selectors ...*parser.VectorSelector) string {
	var reasons []string
	add := func(s string) {
		if s != "" && len(reasons) < 3 {
			reasons = append(reasons, s)
		}
	}
	ms := now.UnixMilli()
	for _, vs := range selectors {
		views := st.find(vs.LabelMatchers)
		st.mu.RLock()
		seen := map[*source]bool{}
		for _, v := range views {
			if !seen[v.src] {
				add(v.src.complaint(ms))
			}
			seen[v.src] = true
		}
		if len(views) == 0 {
			add(st.nothingMatches(vs, ms))
		} else if len(reasons) == 0 {
			add(fmt.Sprintf("no samples of %s in the window", vs))
		}
		st.mu.RUnlock()
	}
	return strings.Join(reasons, "; ")
}

// nothingMatches tells a wrong label from a wrong name from a dead source.
// The caller holds the lock.
func (st *Store) nothingMatches(vs *parser.VectorSelector, now int64) string {
	if list := st.byName[vs.Name]; len(list) > 0 {
		return fmt.Sprintf("no series matches %s; one of %d called so is %s", vs, len(list), list[0].labels)
	}
	var names, failing []string
	for _, name := range sortedKeys(st.sources) {
		if name == Runner {
			continue
		}
		names = append(names, name)
		if c := st.sources[name].complaint(now); c != "" {
			failing = append(failing, c)
		}
	}
	msg := fmt.Sprintf("no series matches %s; scraped: %s", vs, strings.Join(names, ", "))
	if len(failing) > 0 {
		msg += "; " + strings.Join(failing, "; ")
	}
	return msg
}

// longestGap is the longest time in the window in which a source of the
// selected series was not read, and which source that was.
func (st *Store) longestGap(selectors []*parser.VectorSelector, w Window) (time.Duration, string) {
	longest, name := int64(0), ""
	for _, vs := range selectors {
		views := st.find(vs.LabelMatchers)
		st.mu.RLock()
		for _, v := range views {
			if g := v.src.gap(w.Start.UnixMilli(), w.End.UnixMilli()); g > longest {
				longest, name = g, v.src.name
			}
		}
		st.mu.RUnlock()
	}
	return time.Duration(longest) * time.Millisecond, name
}

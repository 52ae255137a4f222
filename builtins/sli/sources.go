package sli

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// scrapeUp is a series of the store's own, 1 or 0 for each scrape of a source:
// stale markers cannot be written to OpenMetrics, so the evidence of a dead
// source has to be a number.
const scrapeUp = "runner_scrape_up"

// source is whatever exposes series: an endpoint, or the runner. Times are
// Unix milliseconds, 0 for never.
type source struct {
	name                  string
	series                []*series
	gen                   uint64 // counts scrapes
	firstSuccess, success int64
	failure, failingSince int64
	err                   string
	samples               int // in the last good scrape
	outages               []outage
}

// outage is a time between two good scrapes that was long enough to matter.
type outage struct{ from, to int64 }

// outageMin is the shortest gap worth remembering, in ms; what counts as
// blind (3 s) is longer, and so is no interval that fits an experiment.
const outageMin = 1000

func (st *Store) source(name string) *source {
	s := st.sources[name]
	if s == nil {
		s = &source{name: name}
		st.sources[name] = s
	}
	return s
}

func (s *source) succeeded(t int64, samples int) {
	if s.firstSuccess == 0 {
		s.firstSuccess = t
	}
	if s.success != 0 && t-s.success >= outageMin {
		s.outages = append(s.outages, outage{s.success, t})
	}
	s.success, s.samples = max(s.success, t), samples
	s.failingSince = 0
}

// Fail records that a scrape of a source failed: every live series of it ends
// at t with a stale marker, so that no query shows the dead as alive.
func (st *Store) Fail(name string, t time.Time, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.fail(st.source(name), t.UnixMilli(), err)
}

func (st *Store) fail(src *source, t int64, err error) {
	for _, s := range src.series {
		st.mark(s, t)
	}
	src.gen++
	src.failure, src.err = t, oneLine(err.Error())
	if src.failingSince == 0 {
		src.failingSince = t
	}
	st.up(src, t, 0)
}

// up writes the source's scrapeUp sample; at a limit it is the first to go.
func (st *Store) up(src *source, t int64, v float64) {
	s, err := st.getOrCreate(st.source(Runner), buildLabels(scrapeUp, map[string]string{"source": src.name}, nil))
	if err != nil || (!s.empty() && t <= s.last) {
		return
	}
	_ = st.append(s, t, v)
}

// Source is what is known of one source of series.
type Source struct {
	Name         string    `json:"name"`
	LastSuccess  time.Time `json:"last_success,omitzero"`
	LastFailure  time.Time `json:"last_failure,omitzero"`
	FailingSince time.Time `json:"failing_since,omitzero"` // zero while scrapes succeed
	Err          string    `json:"err,omitempty"`          // of the last failure, even if scrapes succeed again
	Samples      int       `json:"samples"`                // in the last good scrape
	Series       int       `json:"series"`                 // live now
}

// Sources lists the sources by name, the runner's own included.
func (st *Store) Sources() []Source {
	st.mu.RLock()
	defer st.mu.RUnlock()
	out := make([]Source, 0, len(st.sources))
	for _, s := range st.sources {
		live := 0
		for _, x := range s.series {
			if x.live {
				live++
			}
		}
		out = append(out, Source{
			Name: s.name, LastSuccess: at(s.success), LastFailure: at(s.failure),
			FailingSince: at(s.failingSince), Err: s.err, Samples: s.samples, Series: live,
		})
	}
	slices.SortFunc(out, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// complaint says what is wrong with a source at now (ms), or "".
func (s *source) complaint(now int64) string {
	switch {
	case s.failingSince != 0:
		return fmt.Sprintf("scrape of %s fails since %s: %s", s.name, ago(now-s.failingSince), s.err)
	case s.success == 0:
		return fmt.Sprintf("%s was never scraped", s.name)
	}
	return ""
}

// ago prints milliseconds as people say them: "1.2s".
func ago(ms int64) string {
	return (time.Duration(max(0, ms)) * time.Millisecond).Round(100 * time.Millisecond).String()
}

// gap is the longest time within the window (ms) in which the source was not
// read, and "" or why; the lead-in before the first scrape counts, and so does
// the time since the last.
func (s *source) gap(start, end int64) int64 {
	if s.success == 0 {
		return end - start
	}
	longest := max(min(s.firstSuccess, end)-start, end-max(s.success, start))
	for _, o := range s.outages {
		longest = max(longest, min(o.to, end)-max(o.from, start))
	}
	return max(0, longest)
}

// oneLine keeps an error's text short enough for a log and a CSV cell.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

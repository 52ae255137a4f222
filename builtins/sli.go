package builtins

import (
	"fmt"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// sliValue is a number that can be asked for over a window.
type sliValue struct {
	inert
	sli     spec.SLI
	longest time.Duration // a latency cannot be more; 0 if unknown
}

func newSLI(s *Session, sli spec.SLI) *sliValue {
	return &sliValue{
		inert: inert{s, "an SLI is neither true nor false, and no number yet", `make it an objective, availability = slo("availability", …), or abort_if(…, below = 0.9)`},
		sli:   sli,
	}
}

func (v *sliValue) String() string { return "<" + describe(v.sli) + ">" }
func (v *sliValue) Type() string   { return "sli" }

// sliParam takes an SLI, PromQL, or where objective is set an objective.
type sliParam struct {
	objective bool
	value     *sliValue
	slo       *sloValue
	s         *Session
}

const maxQuery = 4000 // bytes of PromQL

// Unpack implements starlark.Unpacker.
func (p *sliParam) Unpack(v starlark.Value) error {
	wanted := `t.success, t.latency("p99"), ratio(…), quantile(…) or PromQL`
	if p.objective {
		wanted = "an objective, " + wanted
	}
	switch v := v.(type) {
	case *sliValue:
		p.value = v
		return nil
	case *sloValue:
		if p.objective {
			p.slo, p.value = v, v.of
			return nil
		}
	case starlark.String:
		if q := strings.TrimSpace(string(v)); q != "" && len(q) <= maxQuery {
			p.value = newSLI(p.s, spec.SLI{Kind: spec.KindPromQL, Query: q})
			return nil
		}
		return fmt.Errorf("got %s, want PromQL of 1 to %d bytes", notation.Got(v), maxQuery)
	case *requests:
		return hint(fmt.Errorf("got %s, want %s", v.Type(), wanted), `take a number of it: its .success or its .latency("p99")`)
	case starlark.Bool:
		if p.objective {
			return hint(fmt.Errorf("got %s, want %s", notation.Got(v), wanted), "the threshold goes beside it: abort_if(availability, below = 0.9)")
		}
	}
	return fmt.Errorf("got %s, want %s", notation.Got(v), wanted)
}

// isShare says that an SLI is a share of requests, in 0..1.
func isShare(sli spec.SLI) bool {
	switch sli.Kind {
	case spec.KindRatio, spec.KindTrafficSuccess, spec.KindProbeSuccess:
		return true
	}
	return false
}

// needsSource says that an SLI is computed from scraped series.
func needsSource(sli spec.SLI) bool {
	switch sli.Kind {
	case spec.KindRatio, spec.KindQuantile, spec.KindPromQL:
		return true
	}
	return false
}

// describe is an SLI as a script would write it.
func describe(sli spec.SLI) string {
	switch sli.Kind {
	case spec.KindRatio:
		return fmt.Sprintf("ratio(%s / %s)", notation.Clean(sli.Good, 100), notation.Clean(sli.Total, 100))
	case spec.KindQuantile:
		return fmt.Sprintf("p%.6g of %s", sli.Q*100, notation.Clean(sli.Histogram, 100))
	case spec.KindPromQL:
		return notation.Clean(strings.Join(strings.Fields(sli.Query), " "), 100)
	case spec.KindTrafficLatency, spec.KindProbeLatency:
		return fmt.Sprintf("p%.6g latency of %s", sli.Q*100, sli.Of)
	}
	return "success of " + sli.Of
}

// threshold is what an objective means for an SLI.
func threshold(v *sliValue, o notation.Objective) (*float64, error) {
	var x float64
	var err error
	switch v.sli.Kind {
	case spec.KindTrafficLatency, spec.KindProbeLatency:
		x, err = o.Seconds()
		if err == nil && v.longest > 0 && x >= v.longest.Seconds() {
			err = hint(fmt.Errorf("got %s, want less than %g s: no request takes longer than its timeout", o.Got(), v.longest.Seconds()),
				`numbers are seconds: half a second is 0.5 or "500ms"`)
		}
	case spec.KindQuantile:
		x = o.Value
		if o.Unit == notation.Shares {
			err = fmt.Errorf(`got %s, want a number in the histogram's unit, or a duration such as "500ms"`, o.Got())
		}
	case spec.KindPromQL:
		x = o.Value
	default:
		x, err = o.Share()
	}
	return &x, err
}

// asShare notes that a query is held against a share, as "99%": then a value that
// is none, such as 97.3, is an error and no success.
func asShare(sli spec.SLI, objectives ...notation.Objective) spec.SLI {
	for _, o := range objectives {
		if sli.Kind == spec.KindPromQL && o.Unit == notation.Shares {
			sli.Share = true
		}
	}
	return sli
}

// checkQuery has the PromQL of an SLI read, where it has any.
func (s *Session) checkQuery(sli spec.SLI) error {
	if s.cfg.CheckSLI == nil || !needsSource(sli) {
		return nil
	}
	return s.cfg.CheckSLI(sli)
}

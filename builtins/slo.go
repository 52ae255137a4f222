package builtins

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// slo(name, sli, *, min = None, max = None, when = "always", recovers_within = "30s")
func slo(s *Session, c *call) (starlark.Value, error) {
	var (
		name     notation.Name
		sli      = sliParam{s: s}
		min, max notation.Objective
		when     = notation.Choice{Of: []string{spec.Always, spec.Edges}}
		recovers notation.Duration
	)
	if err := c.unpack(&name, &sli, &min, &max, &when, &recovers); err != nil {
		return nil, err
	}
	out := spec.SLO{
		Name: string(name), SLI: sli.value.sli, When: when.Value, RecoversWithin: time.Duration(recovers), Pos: c.at().pos,
	}
	var err error
	if out.Min, out.Max, err = bounds(sli.value, "min", min, "max", max); err != nil {
		return nil, err
	}
	out.SLI = asShare(out.SLI, min, max)
	if isShare(out.SLI) && out.Min != nil && *out.Min == 0 || isShare(out.SLI) && out.Max != nil && *out.Max == 1 {
		return nil, fmt.Errorf("got an objective that every share meets: there is nothing to break")
	}
	if err := s.checkQuery(out.SLI); err != nil {
		return nil, fmt.Errorf("sli: %w", err)
	}
	if err := s.declared.name(c, string(name)); err != nil {
		return nil, err
	}
	s.declared.experiment.SLOs = append(s.declared.experiment.SLOs, out)
	return &sloValue{
		inert: inert{s, "an objective is neither true nor false", fmt.Sprintf("observe(…) tells its figures, as w[%s].value; abort_if(%[1]s, below = 0.9) ends the run", shortName(out.Name))},
		slo:   out, of: sli.value,
	}, nil
}

// bounds takes exactly one of two thresholds.
func bounds(v *sliValue, lowName string, low notation.Objective, highName string, high notation.Objective) (lowest, highest *float64, err error) {
	switch {
	case low.Set == high.Set && low.Set:
		return nil, nil, fmt.Errorf("got both %s and %s, want one", lowName, highName)
	case low.Set == high.Set:
		return nil, nil, fmt.Errorf("got neither %s nor %s, want one", lowName, highName)
	case low.Set:
		if lowest, err = threshold(v, low); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", lowName, err)
		}
		return lowest, nil, nil
	}
	if highest, err = threshold(v, high); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", highName, err)
	}
	return nil, highest, nil
}

// sloValue is an objective, for abort_if and as an index of what observe saw.
type sloValue struct {
	inert
	slo spec.SLO
	of  *sliValue
}

func (v *sloValue) String() string        { return fmt.Sprintf("<slo %s>", v.slo.Name) }
func (v *sloValue) Type() string          { return "slo" }
func (v *sloValue) Hash() (uint32, error) { return starlark.String(v.slo.Name).Hash() }
func (v *sloValue) AttrNames() []string   { return []string{"name"} }

func (v *sloValue) Attr(name string) (starlark.Value, error) {
	if name == "name" {
		return starlark.String(v.slo.Name), nil
	}
	return nil, nil
}

// shortName is a name as a variable would be called, for hints.
func shortName(name string) string {
	if paramName.MatchString(name) {
		return name
	}
	return "objective"
}

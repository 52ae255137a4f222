package builtins

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// abort_if(slo_or_sli, *, below = None, above = None, lasting = "1s")
func abortIf(s *Session, c *call) (starlark.Value, error) {
	var (
		on           = sliParam{s: s, objective: true}
		below, above notation.Objective
		lasting      notation.Duration
	)
	if err := c.unpack(&on, &below, &above, &lasting); err != nil {
		return nil, err
	}
	out := spec.Abort{Name: describe(on.value.sli), SLI: on.value.sli, Lasting: time.Duration(lasting), Pos: c.at().pos}
	var err error
	if o := on.slo; o != nil {
		out.Name, out.SLO, out.SLI = o.slo.Name, o.slo.Name, o.slo.SLI
	}
	if on.slo != nil && !below.Set && !above.Set { // the objective itself
		out.Below, out.Above = on.slo.slo.Min, on.slo.slo.Max
	} else if out.Below, out.Above, err = bounds(on.value, "below", below, "above", above); err != nil {
		return nil, err
	}
	out.SLI = asShare(out.SLI, below, above)
	if err := s.sensible(on, out); err != nil {
		return nil, err
	}
	if len(s.declared.experiment.Aborts) >= maxDeclared {
		return nil, fmt.Errorf("got more than %d of them", maxDeclared)
	}
	s.declared.experiment.Aborts = append(s.declared.experiment.Aborts, out)
	return nil, s.declared.note(c)
}

// sensible refuses a condition that can never hold, or that asks for the
// wrong side of its objective, or for a thing that is only named.
func (s *Session) sensible(on sliParam, a spec.Abort) error {
	if isShare(a.SLI) && (a.Below != nil && *a.Below == 0 || a.Above != nil && *a.Above == 1) {
		return fmt.Errorf("got a condition that no share meets: it would never end the run")
	}
	if o := on.slo; o != nil {
		switch {
		case o.slo.Min != nil && a.Above != nil:
			return fmt.Errorf("above: got it for %s, which has min =; want below =", o.slo.Name)
		case o.slo.Max != nil && a.Below != nil:
			return fmt.Errorf("below: got it for %s, which has max =; want above =", o.slo.Name)
		}
		return nil
	}
	if a.SLI.Kind == spec.KindPromQL {
		for _, known := range s.declared.experiment.SLOs {
			if known.Name == a.SLI.Query {
				return hint(fmt.Errorf("slo_or_sli: got the string %s, want the objective itself", notation.Quote(known.Name)),
					"keep what slo() returns: %[1]s = slo(…), and write abort_if(%[1]s, …)", shortName(known.Name))
			}
		}
	}
	if err := s.checkQuery(a.SLI); err != nil {
		return fmt.Errorf("slo_or_sli: %w", err)
	}
	return nil
}

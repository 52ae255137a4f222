package builtins

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// steady_state(*, baseline = "15s", within = "2m")
func steadyState(s *Session, c *call) (starlark.Value, error) {
	var baseline, within notation.Duration
	if err := c.unpack(&baseline, &within); err != nil {
		return nil, err
	}
	if within < baseline {
		return nil, fmt.Errorf("within: got %s, want at least the baseline of %s", time.Duration(within), time.Duration(baseline))
	}
	if err := s.declared.only(c); err != nil {
		return nil, err
	}
	s.declared.experiment.SteadyState = spec.SteadyState{Baseline: time.Duration(baseline), Within: time.Duration(within), Pos: c.at().pos}
	return nil, nil
}

// defaultSteadyState holds where a script says nothing: what the signature of
// steady_state says.
var defaultSteadyState = spec.SteadyState{Baseline: 15 * time.Second, Within: 2 * time.Minute}

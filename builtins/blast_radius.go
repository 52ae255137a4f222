package builtins

import (
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// blast_radius(targets, duration, *, at_most = None, traffic = "100%")
func blastRadius(s *Session, c *call) (starlark.Value, error) {
	var (
		targets  notation.Targets
		duration notation.Duration
		atMost   notation.Count
		traffic  notation.Percent
	)
	if err := c.unpack(&targets, &duration, &atMost, &traffic); err != nil {
		return nil, err
	}
	if err := s.declared.only(c); err != nil {
		return nil, err
	}
	s.declared.experiment.BlastRadius = spec.BlastRadius{
		Targets: targets, Duration: time.Duration(duration), AtMost: int(atMost), Traffic: float64(traffic), Pos: c.at().pos,
	}
	return nil, nil
}

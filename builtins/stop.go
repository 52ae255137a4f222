package builtins

import (
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
)

// stop(target, *, grace = None, duration = None)
func stop(s *Session, c *call) (starlark.Value, error) {
	var (
		target   notation.Targets
		grace    notation.Duration
		duration notation.Duration
	)
	if err := c.unpack(&target, &grace, &duration); err != nil {
		return nil, err
	}
	return s.inject(c, target, &fault.Stop{Grace: time.Duration(grace)}, duration)
}

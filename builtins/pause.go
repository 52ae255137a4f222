package builtins

import (
	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
)

// pause(target, *, duration = None)
func pause(s *Session, c *call) (starlark.Value, error) {
	var (
		target   notation.Targets
		duration notation.Duration
	)
	if err := c.unpack(&target, &duration); err != nil {
		return nil, err
	}
	return s.inject(c, target, &fault.Pause{}, duration)
}

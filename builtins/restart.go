package builtins

import (
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
)

// restart(target, *, grace = None)
func restart(s *Session, c *call) (starlark.Value, error) {
	var (
		target notation.Targets
		grace  notation.Duration
	)
	if err := c.unpack(&target, &grace); err != nil {
		return nil, err
	}
	return s.inject(c, target, &fault.Restart{Grace: time.Duration(grace)}, 0)
}

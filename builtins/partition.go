package builtins

import (
	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
)

// partition(target, peers, *, duration = None)
func partition(s *Session, c *call) (starlark.Value, error) {
	var (
		target   notation.Targets
		peers    notation.Peers
		duration notation.Duration
	)
	if err := c.unpack(&target, &peers, &duration); err != nil {
		return nil, err
	}
	return s.inject(c, target, &fault.Partition{Peers: peers}, duration)
}

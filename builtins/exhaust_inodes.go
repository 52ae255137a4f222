package builtins

import (
	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
)

// exhaust_inodes(target, path, *, percent = "100%", hold = "auto",
// keep_full = True, allow_host_disk = False, duration = None)
func exhaustInodes(s *Session, c *call) (starlark.Value, error) {
	var (
		target            notation.Targets
		path              string
		percent           notation.Percent
		hold              = holds()
		keepFull, allowed bool
		duration          notation.Duration
	)
	if err := c.unpack(&target, &path, &percent, &hold, &keepFull, &allowed, &duration); err != nil {
		return nil, err
	}
	return s.inject(c, target, &fault.ExhaustInodes{
		Path: path, Percent: float64(percent), Hold: hold.Value, KeepFull: keepFull, AllowHostDisk: allowed,
	}, duration)
}

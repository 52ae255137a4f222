package builtins

import (
	"fmt"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/fault/ballast"
	"chaosrunner/builtins/notation"
)

// fill_disk(target, path, *, percent = None, size = None, leave = None,
// hold = "auto", keep_full = True, allow_host_disk = False, duration = None)
func fillDisk(s *Session, c *call) (starlark.Value, error) {
	var (
		target            notation.Targets
		path              string
		percent           notation.Percent
		size, leave       notation.Size
		hold              = holds()
		keepFull, allowed bool
		duration          notation.Duration
	)
	if err := c.unpack(&target, &path, &percent, &size, &leave, &hold, &keepFull, &allowed, &duration); err != nil {
		return nil, err
	}
	if percent == 0 && size == 0 && leave == 0 {
		return nil, fmt.Errorf(`percent, size, leave: got none of them, want one, such as percent = "100%%"`)
	}
	return s.inject(c, target, &fault.FillDisk{
		Path: path, Percent: float64(percent), Size: int64(size), Leave: int64(leave),
		Hold: hold.Value, KeepFull: keepFull, AllowHostDisk: allowed,
	}, duration)
}

func holds() notation.Choice {
	return notation.Choice{Of: []string{ballast.Auto, ballast.Kernel, ballast.File}}
}

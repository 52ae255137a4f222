package builtins

import (
	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
)

// throttle_io(target, *, path = None, read_bps = None, write_bps = None,
// read_iops = None, write_iops = None, allow_host_disk = False,
// duration = None)
func throttleIO(s *Session, c *call) (starlark.Value, error) {
	var (
		target              notation.Targets
		path                string
		readBPS, writeBPS   notation.Size
		readIOPS, writeIOPS int
		allowed             bool
		duration            notation.Duration
	)
	if err := c.unpack(&target, &path, &readBPS, &writeBPS, &readIOPS, &writeIOPS, &allowed, &duration); err != nil {
		return nil, err
	}
	return s.inject(c, target, &fault.ThrottleIO{
		Path: path, ReadBPS: int64(readBPS), WriteBPS: int64(writeBPS),
		ReadIOPS: int64(readIOPS), WriteIOPS: int64(writeIOPS), AllowHostDisk: allowed,
	}, duration)
}

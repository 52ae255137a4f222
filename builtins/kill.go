package builtins

import (
	"fmt"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
)

// kill(target, *, stays_down = True, signal = "SIGKILL", duration = None)
func kill(s *Session, c *call) (starlark.Value, error) {
	var (
		target    notation.Targets
		staysDown bool
		signal    notation.Signal
		duration  notation.Duration
	)
	if err := c.unpack(&target, &staysDown, &signal, &duration); err != nil {
		return nil, err
	}
	if staysDown && signal != "SIGKILL" {
		return nil, hint(fmt.Errorf("signal: got %s with stays_down = True, want SIGKILL: the engine keeps down only what it kills itself", signal),
			"write stays_down = False to send %s as a real crash would, or stop(…) for an orderly end", signal)
	}
	return s.inject(c, target, &fault.Kill{StaysDown: staysDown, Signal: string(signal)}, duration)
}

package builtins

import (
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// prometheus(url, *, headers = None, interval = "1s", timeout = "2s")
func prometheus(s *Session, c *call) (starlark.Value, error) {
	var (
		url               notation.URL
		headers           notation.Headers
		interval, timeout notation.Duration
	)
	if err := c.unpack(&url, &headers, &interval, &timeout); err != nil {
		return nil, err
	}
	if err := s.soleSource(c, time.Duration(interval)); err != nil {
		return nil, err
	}
	s.declared.experiment.Prometheus = &spec.Prometheus{
		URL: string(url), Headers: headers, Interval: time.Duration(interval), Timeout: time.Duration(timeout), Pos: c.at().pos,
	}
	return nil, nil
}

package builtins

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// traffic(url, arrivals, *, method = "GET", headers = None, body = None,
// expect = None, timeout = "2s", name = None)
func traffic(s *Session, c *call) (starlark.Value, error) {
	var (
		url      notation.URL
		arrivals notation.Arrivals
		method   notation.Method
		headers  notation.Headers
		body     requestBody
		expect   notation.Statuses
		timeout  notation.Duration
		name     notation.Name
	)
	if err := c.unpack(&url, &arrivals, &method, &headers, &body, &expect, &timeout, &name); err != nil {
		return nil, err
	}
	d := s.declared
	if name == "" {
		if name = "traffic"; len(d.experiment.Traffic) > 0 {
			name = notation.Name(fmt.Sprintf("traffic%d", len(d.experiment.Traffic)+1))
		}
	}
	if err := d.name(c, string(name)); err != nil {
		return nil, err
	}
	d.experiment.Traffic = append(d.experiment.Traffic, spec.Traffic{
		Name: string(name), URL: string(url), Arrivals: float64(arrivals), Method: string(method), Headers: body.with(headers),
		Body: body.text, Expect: expect, Timeout: time.Duration(timeout), Pos: c.at().pos,
	})
	return newRequests(s, "traffic", string(name), time.Duration(timeout)), nil
}

package builtins

import (
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// probe(name, url, *, every = "1s", timeout = "1s", expect = None)
func probe(s *Session, c *call) (starlark.Value, error) {
	var (
		name           notation.Name
		url            notation.URL
		every, timeout notation.Duration
		expect         notation.Statuses
	)
	if err := c.unpack(&name, &url, &every, &timeout, &expect); err != nil {
		return nil, err
	}
	if err := s.declared.name(c, string(name)); err != nil {
		return nil, err
	}
	s.declared.experiment.Probes = append(s.declared.experiment.Probes, spec.Probe{
		Name: string(name), URL: string(url), Expect: expect, Every: time.Duration(every), Timeout: time.Duration(timeout), Pos: c.at().pos,
	})
	return newRequests(s, "probe", string(name), time.Duration(timeout)), nil
}

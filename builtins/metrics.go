package builtins

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

const minInterval = 50 * time.Millisecond // between two scrapes

// metrics(scrape, *, interval = "200ms", timeout = "2s")
func metrics(s *Session, c *call) (starlark.Value, error) {
	var (
		scrape            notation.Endpoints
		interval, timeout notation.Duration
	)
	if err := c.unpack(&scrape, &interval, &timeout); err != nil {
		return nil, err
	}
	if err := s.soleSource(c, time.Duration(interval)); err != nil {
		return nil, err
	}
	s.declared.experiment.Metrics = &spec.Metrics{
		Scrape: scrape, Interval: time.Duration(interval), Timeout: time.Duration(timeout), Pos: c.at().pos,
	}
	return nil, nil
}

// soleSource refuses a second source of PromQL, and one that is asked too often.
func (s *Session) soleSource(c *call, interval time.Duration) error {
	if interval < minInterval {
		return fmt.Errorf("interval: got %s, want at least %s", interval, minInterval)
	}
	if err := s.declared.only(c); err != nil {
		return err
	}
	a, metrics := s.declared.once["metrics"]
	b, prometheus := s.declared.once["prometheus"]
	if metrics && prometheus {
		return fmt.Errorf("got both metrics (%s) and prometheus (%s), want one: each query has one source", a.pos, b.pos)
	}
	return nil
}

package builtins

import (
	"fmt"
	"math"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// promql(query)
func promqlProbe(s *Session, c *call) (starlark.Value, error) {
	var query string
	if err := c.unpack(&query); err != nil {
		return nil, err
	}
	if query == "" || len(query) > 4000 {
		return nil, fmt.Errorf("query: got %d bytes, want PromQL of 1 to 4000 bytes", len(query))
	}
	x := s.declared.experiment
	if x.Metrics == nil && x.Prometheus == nil {
		return nil, fmt.Errorf("got a query, want metrics() or prometheus() in the script: nothing is scraped")
	}
	if err := s.checkQuery(spec.SLI{Kind: spec.KindPromQL, Query: query}); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	got, err := s.scene.world.PromQL(s.ctx, protocol.PromQL{Query: query, Pos: c.at().pos})
	if err != nil {
		return nil, err
	}
	if got.Value == nil || math.IsNaN(*got.Value) || math.IsInf(*got.Value, 0) {
		return starlark.None, nil
	}
	return starlark.Float(*got.Value), nil
}

// logs(target, *, since = "30s", contains = None)
func logsProbe(s *Session, c *call) (starlark.Value, error) {
	var (
		target   notation.Targets
		since    notation.Duration
		contains string
	)
	if err := c.unpack(&target, &since, &contains); err != nil {
		return nil, err
	}
	if err := looksLikeTime(c.row.Name, target); err != nil {
		return nil, err
	}
	got, err := s.scene.world.Logs(s.ctx, protocol.Logs{Targets: target, Since: time.Duration(since), Contains: contains, Pos: c.at().pos})
	if err != nil {
		return nil, err
	}
	lines := make([]starlark.Value, len(got.Lines))
	for i, line := range got.Lines {
		lines[i] = starlark.String(line)
	}
	return starlark.NewList(lines), nil
}

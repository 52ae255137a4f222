package builtins

import (
	"fmt"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// quantile(histogram, q)
func quantile(s *Session, c *call) (starlark.Value, error) {
	var (
		histogram string
		q         notation.Quantile
	)
	if err := c.unpack(&histogram, &q); err != nil {
		return nil, err
	}
	if err := selector(histogram); err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	return newSLI(s, spec.SLI{Kind: spec.KindQuantile, Histogram: histogram, Q: float64(q)}), nil
}

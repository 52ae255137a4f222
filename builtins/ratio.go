package builtins

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/spec"
)

// ratio(good, total)
func ratio(s *Session, c *call) (starlark.Value, error) {
	var good, total string
	if err := c.unpack(&good, &total); err != nil {
		return nil, err
	}
	for _, p := range []struct{ name, selector string }{{"good", good}, {"total", total}} {
		if err := selector(p.selector); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if strings.TrimSpace(good) == strings.TrimSpace(total) {
		return nil, fmt.Errorf("good: got the same as total: that is always 1")
	}
	return newSLI(s, spec.SLI{Kind: spec.KindRatio, Good: good, Total: total}), nil
}

// selector refuses what can be no selector of series; PromQL itself is read
// where the SLI is used.
func selector(s string) error {
	if strings.TrimSpace(s) == "" || len(s) > maxQuery {
		return fmt.Errorf("got %d bytes, want a selector of series, such as http_requests_total{code=\"200\"}", len(s))
	}
	return nil
}

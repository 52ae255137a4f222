package builtins

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// requests are what traffic or probe sends. Their success and latency are SLIs.
type requests struct {
	inert
	kind, name string
	timeout    time.Duration
}

func newRequests(s *Session, kind, name string, timeout time.Duration) *requests {
	return &requests{
		inert: inert{s, kind + " is neither true nor false, and no number", `take its .success or its .latency("p99")`},
		kind:  kind, name: name, timeout: timeout,
	}
}

var latencyRow = Builtin{Name: "latency", Signature: "latency(q)", Phase: Anywhere}

func (r *requests) String() string      { return fmt.Sprintf("<%s %s>", r.kind, r.name) }
func (r *requests) Type() string        { return r.kind }
func (r *requests) AttrNames() []string { return []string{"latency", "name", "success"} }

func (r *requests) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(r.name), nil
	case "success":
		return newSLI(r.s, spec.SLI{Kind: r.kind + "_success", Of: r.name}), nil
	case "latency":
		row := latencyRow
		row.call = func(s *Session, c *call) (starlark.Value, error) {
			var q notation.Quantile
			if err := c.unpack(&q); err != nil {
				return nil, err
			}
			sli := newSLI(s, spec.SLI{Kind: r.kind + "_latency", Of: r.name, Q: float64(q)})
			sli.longest = r.timeout
			return sli, nil
		}
		return r.s.bind(&row), nil
	}
	return nil, nil
}

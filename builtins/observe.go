package builtins

import (
	"fmt"
	"math"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

// observe(duration)
func observe(s *Session, c *call) (starlark.Value, error) {
	var d notation.Duration
	if err := c.unpack(&d); err != nil {
		return nil, err
	}
	got, err := s.scene.world.Observe(s.ctx, protocol.Observe{Duration: time.Duration(d), Pos: c.at().pos})
	if err != nil {
		return nil, err
	}
	return &figures{inert: inert{s, "the figures of observe() are many", "look at one, as w[availability].value"}, values: got.Values}, nil
}

// figures are what observe saw, by objective.
type figures struct {
	inert
	values map[string]protocol.Figure
}

func (f *figures) String() string { return fmt.Sprintf("<figures of %d objectives>", len(f.values)) }
func (f *figures) Type() string   { return "figures" }

// Get implements w[availability].
func (f *figures) Get(key starlark.Value) (starlark.Value, bool, error) {
	o, ok := key.(*sloValue)
	if !ok {
		return nil, false, hint(fmt.Errorf("figures: got %s as index, want an objective", notation.Got(key)),
			"keep what slo() returns, availability = slo(…), and write w[availability].value")
	}
	got := f.values[o.slo.Name]
	out := &figure{inert: inert{f.s, "a figure is no truth", "compare its .value, which is None where there is no data"}, name: o.slo.Name, count: got.Count}
	// No NaN reaches a script: there, every comparison with one is true.
	if v := got.Value; v != nil && !math.IsNaN(*v) && !math.IsInf(*v, 0) {
		out.value = starlark.Float(*v)
	} else {
		out.value = starlark.None
	}
	return out, true, nil
}

// figure is one number, and how much stands behind it.
type figure struct {
	inert
	name  string
	value starlark.Value
	count int64
}

func (f *figure) String() string      { return fmt.Sprintf("<%s: %s of %d>", f.name, f.value, f.count) }
func (f *figure) Type() string        { return "figure" }
func (f *figure) AttrNames() []string { return []string{"count", "value"} }

func (f *figure) Attr(name string) (starlark.Value, error) {
	switch name {
	case "value":
		return f.value, nil
	case "count":
		return starlark.MakeInt64(f.count), nil
	}
	return nil, nil
}

package builtins

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// pick(targets, *, n = None, percent = None)
func pick(s *Session, c *call) (starlark.Value, error) {
	var (
		targets notation.Targets
		n       notation.Count
		percent notation.Percent
	)
	if err := c.unpack(&targets, &n, &percent); err != nil {
		return nil, err
	}
	if (n == 0) == (percent == 0) {
		return nil, fmt.Errorf("got %s, want one of n = 1 and percent = \"50%%\"", map[bool]string{true: "neither n nor percent", false: "both n and percent"}[n == 0])
	}
	resolved, err := s.scene.world.Targets(s.ctx, protocol.Resolve{Targets: targets})
	if err != nil {
		return nil, err
	}
	all := containers(resolved)
	if len(resolved.Matches) == 0 { // a check, without an engine
		all = standIns(targets, int(n))
	}
	many := int(n)
	if n == 0 {
		many = max(1, int(math.Floor(float64(percent)*float64(len(all))+1e-9)))
	}
	if many > len(all) {
		return nil, fmt.Errorf("n: got %d, want at most the %d containers of %s", many, len(all), strings.Join(targets, ", "))
	}
	chosen := s.scene.sample(all, many)
	if r := s.scene.rehearsal; r != nil {
		if err := r.record(spec.Step{Op: "pick", Detail: article(chosen)}); err != nil {
			return nil, err
		}
	}
	return stringList(chosen), nil
}

// containers are the targets' names, in an order that does not depend on the
// engine's.
func containers(resolved protocol.Resolved) (names []string) {
	for _, m := range resolved.Matches {
		for _, t := range m.Targets {
			names = append(names, expression(t))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// expression is how a script names one container.
func expression(t fault.Target) string {
	if t.Service != "" && t.Index > 0 {
		return fmt.Sprintf("%s#%d", t.Service, t.Index)
	}
	return t.Name
}

// standIns are as many expressions as asked for, within the given ones and
// each different, as far as these can mean so many containers.
func standIns(targets []string, n int) []string {
	all := slices.Clone([]string(targets))
	var many []string // that may mean more than one container
	for _, t := range targets {
		if !strings.Contains(t, "#") {
			many = append(many, t)
		}
	}
	for i := 0; len(all) < n && len(many) > 0; i++ {
		all = append(all, fmt.Sprintf("%s#%d", many[i%len(many)], i/len(many)+1))
	}
	return all
}

// sample draws n of all without putting back, by Fisher and Yates.
func (c *scene) sample(all []string, n int) []string {
	all = slices.Clone(all)
	for i := range n {
		j := i + int(c.below(uint64(len(all)-i)))
		all[i], all[j] = all[j], all[i]
	}
	return all[:n]
}

// below is uniform in [0, n) (Lemire's method). It is written out, so that a
// seed means the same in every version of Go.
func (c *scene) below(n uint64) uint64 {
	for {
		hi, lo := bits.Mul64(c.rand.Uint64(), n)
		if lo >= -n%n {
			return hi
		}
	}
}

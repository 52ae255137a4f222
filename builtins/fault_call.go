package builtins

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// params are what a kind of fault takes beside targets and duration. Package
// builtins/fault gives them meaning.
type params interface{ Validate() error }

// inject asks for a fault and returns its handle once it is in place.
func (s *Session) inject(c *call, targets notation.Targets, p params, d notation.Duration) (*handle, error) {
	if err := looksLikeTime(c.row.Name, targets); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	f := spec.Fault{Kind: c.row.Name, Targets: targets, Params: raw, Duration: time.Duration(d), Pos: c.at().pos}
	if err := s.within(f, p); err != nil {
		return nil, err
	}
	got, err := s.scene.world.Fault(s.ctx, f)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(got.Targets))
	for i, t := range got.Targets {
		names[i] = t.Name
	}
	return &handle{s: s, kind: c.row.Name, id: got.ID, targets: names, got: got}, nil
}

// looksLikeTime catches pause("30s").
func looksLikeTime(builtin string, targets notation.Targets) error {
	if len(targets) != 1 {
		return nil
	}
	if _, err := notation.ParseDuration(targets[0]); err != nil {
		return nil
	}
	return hint(fmt.Errorf("target: got %q, want a target such as \"catalog\"", targets[0]),
		"to let time pass, write observe(%q); for how long a fault lasts, duration = %q", targets[0], targets[0])
}

// within holds a fault against the blast radius, as far as expressions tell;
// the supervisor holds the resolved targets against it.
func (s *Session) within(f spec.Fault, p params) error {
	radius := s.declared.experiment.BlastRadius
	if len(radius.Targets) == 0 {
		return nil // missing, which is an error of its own
	}
	for _, t := range f.Targets {
		if outside(t, radius.Targets) {
			return fmt.Errorf("target: got %q, which is outside the blast radius (%s), declared at %s", t, strings.Join(radius.Targets, ", "), radius.Pos)
		}
	}
	if radius.AtMost > 0 && plain(f.Targets) && len(f.Targets) > radius.AtMost {
		return fmt.Errorf("target: got %d targets, want at most %d at once (at_most of blast_radius, at %s)", len(f.Targets), radius.AtMost, radius.Pos)
	}
	if f.Duration >= radius.Duration {
		return fmt.Errorf("duration: got %s, want less than the %s of blast_radius, at %s: putting things back takes time too", f.Duration, radius.Duration, radius.Pos)
	}
	if shares, ok := p.(interface{ Traffic() float64 }); ok {
		if got := shares.Traffic(); got > radius.Traffic {
			return fmt.Errorf("traffic: got %.3g%%, want at most the %.3g%% of blast_radius, at %s", got*100, radius.Traffic*100, radius.Pos)
		}
		return nil
	}
	if radius.Traffic < 1 {
		return hint(fmt.Errorf("this fault touches all traffic of its target, and blast_radius allows %.3g%% of it, at %s", radius.Traffic*100, radius.Pos),
			"a share of the traffic can only be touched by faults of the network")
	}
	return nil
}

// outside says that an expression certainly means nothing within the radius.
// Two names that share letters may mean one container (catalog and
// shop_catalog_1), and a label may mean any.
func outside(target string, radius []string) bool {
	if !plain([]string{target}) {
		return false
	}
	name, _, _ := strings.Cut(target, "#")
	for _, r := range radius {
		other, _, _ := strings.Cut(r, "#")
		switch {
		case strings.HasPrefix(r, "label:"), strings.Contains(name, other), strings.Contains(other, name):
			return false
		case strings.ContainsAny(r, "*?["):
			if ok, err := path.Match(other, name); ok || err != nil {
				return false
			}
			if strings.HasPrefix(other, "*") { // shop_chunk_1 may be what the pattern means
				return false
			}
		}
	}
	return true
}

// plain says that expressions are names, each of one service or container.
func plain(targets []string) bool {
	for _, t := range targets {
		if strings.HasPrefix(t, "label:") || strings.ContainsAny(t, "*?[") {
			return false
		}
	}
	return true
}

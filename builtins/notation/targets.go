package notation

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/fault"
)

// Targets are target expressions, at least one, none twice: "catalog",
// "catalog#2", "chunk*", "label:k=v", of the host itself "netns:blue" and
// "pid:1234", or a list of them.
type Targets []string

const (
	maxTarget  = 200 // bytes of one expression
	maxTargets = 200 // expressions in one list
)

// Unpack implements starlark.Unpacker.
func (t *Targets) Unpack(v starlark.Value) error {
	all, err := texts(v, `a target such as "catalog", or a list of them`, maxTargets)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return want(v, "at least one target: the list is empty")
	}
	var out Targets
	for _, s := range all {
		if err := checkTarget(s); err != nil {
			return err
		}
		if slices.Contains(out, s) {
			return want(starlark.String(s), "each target once")
		}
		out = append(out, s)
	}
	*t = out
	return nil
}

func checkTarget(s string) error {
	v := starlark.String(s)
	if s == "" || len(s) > maxTarget || !safeText(s) || strings.ContainsAny(s, " \t") && !strings.HasPrefix(s, "label:") {
		return want(v, `a target such as "catalog", "catalog#2", "chunk*" or "label:k=v"`)
	}
	if fault.OnHost(s) {
		if err := fault.CheckHost(s); err != nil {
			return want(v, `a target of the host such as "netns:blue" or "pid:1234"`)
		}
		return nil
	}
	if label, ok := strings.CutPrefix(s, "label:"); ok {
		if key, _, ok := strings.Cut(label, "="); !ok || key == "" {
			return want(v, `a label such as "label:tier=backend"`)
		}
		return nil
	}
	name, replica, numbered := strings.Cut(s, "#")
	if numbered && (replica == "" || replica[0] == '0' || strings.Trim(replica, "0123456789") != "" || len(replica) > 6) {
		return want(v, `a replica's number from 1 after "#", such as "catalog#2"`)
	}
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, `,;:/\'"`) {
		return want(v, `a service's or container's name such as "catalog"`)
	}
	return nil
}

// texts takes a string, or a list, tuple or set of strings.
func texts(v starlark.Value, wanted string, most int) ([]string, error) {
	if s, ok := v.(starlark.String); ok {
		return []string{string(s)}, nil
	}
	switch v.(type) {
	case *starlark.List, starlark.Tuple, *starlark.Set:
	default:
		return nil, want(v, "%s", wanted)
	}
	if n := starlark.Len(v); n > most {
		return nil, want(v, "at most %d of them: this one has %d", most, n)
	}
	var out []string
	for x := range starlark.Elements(v.(starlark.Iterable)) {
		s, ok := x.(starlark.String)
		if !ok {
			return nil, want(x, "%s", wanted)
		}
		out = append(out, string(s))
	}
	return out, nil
}

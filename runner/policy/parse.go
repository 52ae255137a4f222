package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"chaosrunner/builtins/fault"
)

// Parse reads a policy's text. path stands in errors and refusals; target says
// what is wrong with a target expression, if anything.
func Parse(path string, text []byte, target func(string) error) (*Policy, error) {
	r := reader{p: &Policy{path: path, may: map[string]rule[bool]{}}, target: target}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		return nil, fmt.Errorf("policy %s: it says nothing: remove it, or write a rule such as `longest: 60s`", path)
	case err != nil:
		return nil, fmt.Errorf("policy %s: %w", path, err)
	case d.Decode(&more) != io.EOF:
		return nil, fmt.Errorf("policy %s: got more than one document, want one", path)
	}
	if err := r.mapping(doc.Content[0], r.rule); err != nil {
		return nil, err
	}
	return r.p, nil
}

// A reader takes a file apart. Every error has its line.
type reader struct {
	p      *Policy
	target func(string) error
}

func (r *reader) wrong(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("policy %s:%d: %s", r.p.path, n.Line, fmt.Sprintf(format, args...))
}

// mapping reads each key once.
func (r *reader) mapping(n *yaml.Node, each func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return r.wrong(n, "got %s, want rules such as `longest: 60s`", shape(n))
	}
	seen := map[string]bool{}
	var all []error
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if seen[key.Value] {
			all = append(all, r.wrong(key, "%s: it stands here twice", key.Value))
			continue
		}
		seen[key.Value] = true
		all = append(all, each(key, value))
	}
	return errors.Join(all...)
}

// names are the rules there are.
func names() []string {
	all := []string{"never", "kinds", "longest", "at_most", "hours"}
	for _, l := range leaves {
		all = append(all, l.name)
	}
	return all
}

func (r *reader) rule(key, value *yaml.Node) error {
	p := r.p
	switch key.Value {
	case "never":
		return r.list(key, value, func(n *yaml.Node) error {
			p.never = append(p.never, Target{Expr: n.Value, Line: n.Line, path: p.path})
			return r.target(n.Value)
		})
	case "kinds":
		p.kinds = &rule[[]string]{line: key.Line}
		return r.list(key, value, func(n *yaml.Node) error {
			p.kinds.value = append(p.kinds.value, n.Value)
			return known(n.Value)
		})
	case "longest":
		d, err := time.ParseDuration(value.Value)
		if err != nil || d <= 0 || value.Kind != yaml.ScalarNode {
			return r.wrong(value, `longest: got %s, want a duration such as 60s`, shape(value))
		}
		p.longest = &rule[time.Duration]{d, key.Line}
		return nil
	case "at_most":
		n, err := strconv.Atoi(value.Value)
		if err != nil || n < 0 || value.Kind != yaml.ScalarNode {
			return r.wrong(value, "at_most: got %s, want how many containers may be harmed at once", shape(value))
		}
		p.atMost = &rule[int]{n, key.Line}
		return nil
	case "hours":
		return r.hours(key, value)
	}
	if !slices.Contains(names(), key.Value) {
		return r.wrong(key, "unknown rule %q: there are %s", key.Value, strings.Join(names(), ", "))
	}
	var may bool
	if value.Tag != "!!bool" || value.Decode(&may) != nil {
		return r.wrong(value, "%s: got %s, want true or false", key.Value, shape(value))
	}
	p.may[key.Value] = rule[bool]{may, key.Line}
	return nil
}

// known refuses a kind that there is not: misspelt, it would allow nothing.
func known(kind string) error {
	if _, there := fault.Kinds[kind]; there {
		return nil
	}
	_, err := fault.New(kind, nil)
	return err
}

// list reads one word, or a list of them.
func (r *reader) list(key, value *yaml.Node, each func(*yaml.Node) error) error {
	words := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		words = value.Content
	}
	var all []error
	for _, n := range words {
		if n.Tag != "!!str" {
			all = append(all, r.wrong(n, "%s: got %s, want a word or a list of words", key.Value, shape(n)))
		} else if err := each(n); err != nil {
			all = append(all, r.wrong(n, "%s: %v", key.Value, err))
		}
	}
	return errors.Join(all...)
}

// hours reads one window, or a list of them.
func (r *reader) hours(key, value *yaml.Node) error {
	windows := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		windows = value.Content
	}
	r.p.hours = &rule[[]window]{line: key.Line}
	if len(windows) == 0 {
		return r.wrong(value, "hours: got an empty list, want zone, days, from and until")
	}
	var all []error
	for _, n := range windows {
		w, err := r.window(n)
		all = append(all, err)
		r.p.hours.value = append(r.p.hours.value, w)
	}
	return errors.Join(all...)
}

func (r *reader) window(n *yaml.Node) (window, error) {
	w := window{until: 24 * time.Hour}
	err := r.mapping(n, func(key, value *yaml.Node) (err error) {
		switch key.Value {
		case "zone":
			if w.zone, err = time.LoadLocation(value.Value); err != nil || value.Value == "" || value.Value == "Local" {
				return r.wrong(value, "hours: zone: got %s, want one such as Europe/Berlin, or UTC", shape(value))
			}
		case "days":
			return r.list(key, value, func(n *yaml.Node) error {
				day := slices.Index(weekdays, n.Value)
				if day < 0 {
					return fmt.Errorf("got %q, want %s", n.Value, strings.Join(weekdays, ", "))
				}
				w.days = append(w.days, time.Weekday(day))
				return nil
			})
		case "from":
			w.from, err = timeOfDay(value.Value)
		case "until":
			w.until, err = timeOfDay(value.Value)
		default:
			return r.wrong(key, "hours: unknown key %q: there are zone, days, from, until", key.Value)
		}
		if err != nil {
			return r.wrong(value, "hours: %s: %v", key.Value, err)
		}
		return nil
	})
	if err == nil && w.zone == nil {
		err = r.wrong(n, "hours: zone is missing: say whose clock is meant, such as Europe/Berlin, or UTC")
	}
	if w.zone == nil {
		w.zone = time.UTC
	}
	return w, err
}

// shape is a node as an error shows it.
func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	return strconv.Quote(n.Value)
}

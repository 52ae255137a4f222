package builtins

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

// secret(name)
//
// The value is not here: the supervisor has it, and puts it in the mark's place
// where it is sent.
func secretValue(s *Session, c *call) (starlark.Value, error) {
	var name string
	if err := c.unpack(&name); err != nil {
		return nil, err
	}
	if !paramName.MatchString(name) {
		return nil, fmt.Errorf("name: got %s, want lower_snake_case of at most 40 letters, for --secret NAME=@FILE", notation.Quote(name))
	}
	if err := s.declared.name(c, name); err != nil {
		return nil, err
	}
	s.declared.experiment.Secrets = append(s.declared.experiment.Secrets, spec.Secret{Name: name, Pos: c.at().pos})
	return secret(name), nil
}

// secret is a value that nobody here knows, by its name.
type secret string

func (s secret) Mark() string          { return notation.Mark(string(s)) }
func (s secret) String() string        { return s.Mark() } // for "%s" and format()
func (s secret) Type() string          { return "secret" }
func (s secret) Freeze()               {}
func (s secret) Truth() starlark.Bool  { return true }
func (s secret) Hash() (uint32, error) { return starlark.String(s).Hash() }
func (s secret) instead() string       { return "a secret's value is not known here" }

// Binary implements starlark.HasBinary: a secret can be a part of a string.
func (s secret) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	other, ok := notation.Text(y)
	switch {
	case op != syntax.PLUS || !ok:
		return nil, nil
	case side == starlark.Left:
		return starlark.String(s.Mark() + other), nil
	}
	return starlark.String(other + s.Mark()), nil
}

// takesSecrets are the parameters in whose strings the supervisor puts values in
// the place of marks, and those that are for people, who see the mark.
var takesSecrets = map[string][]string{
	"sql": {"dsn"}, "http": {"headers", "body"}, "traffic": {"headers", "body"}, "prometheus": {"headers"},
	"note": {"text"}, "expect": {"message"},
}

// noSecrets refuses a mark wherever it would stay one: in a query that is sent
// as it stands, or in what the ledger keeps.
func (s *Session) noSecrets(c *call) error {
	if c.row.Name == "print" {
		return nil
	}
	w := secretWalk{left: maxJSON}
	look := func(param string, v starlark.Value) error {
		name := w.find(v, 0)
		switch {
		case name == "":
			return nil
		case !slices.ContainsFunc(s.declared.experiment.Secrets, func(d spec.Secret) bool { return d.Name == name }):
			return fmt.Errorf("%s: got the mark of a secret %s, which the script does not declare", param, name)
		case slices.Contains(takesSecrets[c.row.Name], param):
			return nil
		}
		err := fmt.Errorf("%s: got the secret %s, want secrets only in dsn of sql, in headers and body of http and traffic, and in headers of prometheus", param, name)
		if c.row.Name == "rollback" {
			return hint(err, "its arguments stand in the ledger: have the function use a global of its file instead")
		}
		return err
	}
	for i, v := range c.args {
		param := c.sig.variadic
		if i < len(c.sig.params) && !c.sig.params[i].keyword {
			param = c.sig.params[i].name
		}
		if err := look(param, v); err != nil {
			return err
		}
	}
	for _, pair := range c.kwargs {
		name, _ := starlark.AsString(pair[0])
		if err := look(notation.Clean(name, 40), pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// secretWalk looks for marks in lists of lists, as deep and as far as JSON may go.
type secretWalk struct{ left int }

func (w *secretWalk) find(v starlark.Value, depth int) (name string) {
	if w.left--; w.left < 0 || depth > maxDepth {
		return ""
	}
	if text, ok := notation.Text(v); ok {
		if names := notation.Marked(text); len(names) > 0 {
			return names[0]
		}
		return ""
	}
	if d, ok := v.(*starlark.Dict); ok {
		for key, value := range starlark.Entries(d) {
			if name = w.find(key, depth+1); name == "" {
				name = w.find(value, depth+1)
			}
			if name != "" {
				return name
			}
		}
		return ""
	}
	switch v := v.(type) {
	case *starlark.List, starlark.Tuple, *starlark.Set:
		for x := range starlark.Elements(v.(starlark.Iterable)) {
			if name = w.find(x, depth+1); name != "" {
				return name
			}
		}
	}
	return ""
}

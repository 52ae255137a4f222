package builtins

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
)

// unpack puts the arguments of a call into the variables that ptrs point to,
// one for each parameter of the signature, in its order. In contrast to
// starlark.UnpackArgs it enforces required parameters after optional ones and
// keyword-only ones, takes None as absent for whatever is optional, hints at
// every parameter's name, and fills in the signature's own defaults.
func (c *call) unpack(ptrs ...any) error {
	sig := c.sig
	if len(ptrs) != len(sig.params) {
		panic(fmt.Sprintf("unpack: %d variables for %d parameters", len(ptrs), len(sig.params)))
	}
	values, err := c.bind()
	if err != nil {
		return err
	}
	for i, p := range sig.params {
		v := values[i]
		if v == starlark.None && !p.required {
			v = nil
		}
		if v == nil {
			if v = p.fallback; v == nil {
				continue
			}
		}
		if err := starlark.UnpackArg(v, ptrs[i]); err != nil {
			return fmt.Errorf("%s: %s", p.name, strings.Replace(err.Error(), "got NoneType", "got None", 1))
		}
	}
	return nil
}

// bind says which value each parameter got; nil where it got none.
func (c *call) bind() ([]starlark.Value, error) {
	params := c.sig.params
	values := make([]starlark.Value, len(params))
	positional := 0
	for _, p := range params {
		if !p.keyword {
			positional++
		}
	}
	if len(c.args) > positional && c.sig.variadic == "" {
		return nil, fmt.Errorf("got %d arguments without a name, want at most %d%s", len(c.args), positional, byName(params[positional:]))
	}
	copy(values[:positional], c.args)
	for _, pair := range c.kwargs {
		name, v := string(pair[0].(starlark.String)), pair[1]
		i := indexOf(params, name)
		if i < 0 {
			return nil, fmt.Errorf("got an unknown argument %s%s", notation.Clean(name, 40), suggest(name, paramNames(params)))
		}
		if values[i] != nil {
			return nil, fmt.Errorf("got %s twice", name)
		}
		values[i] = v
	}
	var missing []string
	for i, p := range params {
		if p.required && values[i] == nil {
			missing = append(missing, p.name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("missing %s; want %s", strings.Join(missing, ", "), c.row.Signature)
	}
	return values, nil
}

// rest are the arguments of a variadic builtin beyond its named ones.
func (c *call) rest() starlark.Tuple {
	n := 0
	for _, p := range c.sig.params {
		if !p.keyword {
			n++
		}
	}
	return c.args[min(n, len(c.args)):]
}

func indexOf(params []param, name string) int {
	for i, p := range params {
		if p.name == name {
			return i
		}
	}
	return -1
}

func paramNames(params []param) []string {
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.name
	}
	return names
}

func byName(params []param) string {
	if len(params) == 0 {
		return ""
	}
	return ": give the others by name, as " + params[0].name + " = …"
}

// suggest is what a misspelt name may have meant, as the end of an error.
func suggest(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf(" (did you mean %s?)", near)
	}
	if len(known) > 0 && len(known) <= 12 {
		return fmt.Sprintf(" (there is %s)", strings.Join(known, ", "))
	}
	return ""
}

package builtins

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
)

var paramName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// param(name, default, doc)
func paramValue(s *Session, c *call) (starlark.Value, error) {
	var (
		name     string
		fallback starlark.Value
		doc      notation.Sentence
	)
	if err := c.unpack(&name, &fallback, &doc); err != nil {
		return nil, err
	}
	if !paramName.MatchString(name) {
		return nil, fmt.Errorf("name: got %s, want lower_snake_case of at most 40 letters, for --set NAME=VALUE", notation.Quote(name))
	}
	if err := takesParam(fallback); err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	value := fallback
	if text, set := s.cfg.Params[name]; set {
		var err error
		if value, err = parseParam(text, fallback); err != nil {
			return nil, fmt.Errorf("--set %s: %w", name, err)
		}
	}
	if err := s.declared.name(c, name); err != nil {
		return nil, err
	}
	s.declared.experiment.Params = append(s.declared.experiment.Params, spec.Param{
		Name: name, Doc: string(doc), Default: notation.Clean(fallback.String(), 500), Value: notation.Clean(value.String(), 500), Pos: c.at().pos,
	})
	return value, nil
}

func takesParam(v starlark.Value) error {
	switch v := v.(type) {
	case starlark.String, starlark.Bool, starlark.Int:
		return nil
	case starlark.Float:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("got float %s, want a finite number", v)
		}
		return nil
	}
	return fmt.Errorf("got %s, want a string, an int, a float or a bool: its type says what --set takes", notation.Got(v))
}

// parseParam reads a value of the command line as the default's type says.
func parseParam(text string, fallback starlark.Value) (starlark.Value, error) {
	wrong := fmt.Errorf("got %s, want %s", notation.Quote(text), map[string]string{
		"bool": "true or false", "int": "an int such as 3", "float": "a number such as 0.5",
	}[fallback.Type()])
	switch fallback.(type) {
	case starlark.Bool:
		switch text {
		case "true", "True":
			return starlark.True, nil
		case "false", "False":
			return starlark.False, nil
		}
		return nil, wrong
	case starlark.Int:
		i, ok := new(big.Int).SetString(text, 10)
		if !ok || len(text) > 100 {
			return nil, wrong
		}
		return starlark.MakeBigInt(i), nil
	case starlark.Float:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, wrong
		}
		return starlark.Float(f), nil
	}
	return starlark.String(text), nil
}

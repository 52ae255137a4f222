package builtins

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
)

// An example is a value that says of what shape an answer is, and what the
// rehearsal gets in the answer's place:
//
//	0       an int                   ""     a string
//	0.0     an int or a float        False  a bool
//	None    anything
//	[0]     a list of ints           {"n": 0}  a dict that has an int n; other keys are left out
//
// null is None wherever the example has no list or dict: the system has no such
// number, which a script must not take for one.
type example struct{ value starlark.Value }

// Unpack implements starlark.Unpacker.
func (e *example) Unpack(v starlark.Value) error {
	if err := shapely(v, 0); err != nil {
		return err
	}
	e.value = v
	return nil
}

func shapely(v starlark.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("got an example nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float, starlark.String:
		return nil
	case *starlark.List:
		if v.Len() != 1 {
			return fmt.Errorf("got a list of %d as an example, want one that holds the example of its elements", v.Len())
		}
		return shapely(v.Index(0), depth+1)
	case *starlark.Dict:
		for key, value := range starlark.Entries(v) {
			if _, ok := key.(starlark.String); !ok {
				return fmt.Errorf("got the key %s in an example, want strings", notation.Got(key))
			}
			if err := shapely(value, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("got %s as an example, want None, bools, numbers, strings, lists or dicts", v.Type())
}

// copied is the example as a fresh value, that the rehearsal may change.
func copied(v starlark.Value) starlark.Value {
	switch v := v.(type) {
	case *starlark.List:
		return starlark.NewList([]starlark.Value{copied(v.Index(0))})
	case *starlark.Dict:
		d := new(starlark.Dict)
		for key, value := range starlark.Entries(v) {
			_ = d.SetKey(key, copied(value)) // a new dict takes what another had
		}
		return d
	}
	return v
}

// shaped makes a value of decoded JSON (with json.Number), as like says. where
// is its place in the answer.
func shaped(got any, like starlark.Value, where string) (starlark.Value, error) {
	wrong := func(want string) error {
		return fmt.Errorf("got %s%s, want %s as in like", gotJSON(got), where, want)
	}
	switch like := like.(type) {
	case *starlark.List:
		return shapedList(got, like.Index(0), where, wrong)
	case *starlark.Dict:
		return shapedDict(got, like, where, wrong)
	}
	if got == nil {
		return starlark.None, nil
	}
	switch like.(type) {
	case starlark.Bool:
		if b, ok := got.(bool); ok {
			return starlark.Bool(b), nil
		}
		return nil, wrong("a bool")
	case starlark.String:
		if s, ok := got.(string); ok {
			return starlark.String(s), nil
		}
		return nil, wrong("a string")
	case starlark.Int:
		if n, ok := got.(json.Number); ok {
			if i, ok := new(big.Int).SetString(n.String(), 10); ok {
				return starlark.MakeBigInt(i), nil
			}
		}
		return nil, wrong("an integer")
	case starlark.Float:
		if n, ok := got.(json.Number); ok {
			if f, err := n.Float64(); err == nil && !math.IsInf(f, 0) {
				return starlark.Float(f), nil
			}
		}
		return nil, wrong("a number")
	}
	return anything(got), nil
}

func shapedList(got any, like starlark.Value, where string, wrong func(string) error) (starlark.Value, error) {
	all, ok := got.([]any)
	if !ok {
		return nil, wrong("a list")
	}
	items := make([]starlark.Value, len(all))
	for i, x := range all {
		v, err := shaped(x, like, fmt.Sprintf("%s[%d]", place0(where), i))
		if err != nil {
			return nil, err
		}
		items[i] = v
	}
	return starlark.NewList(items), nil
}

func shapedDict(got any, like *starlark.Dict, where string, wrong func(string) error) (starlark.Value, error) {
	all, ok := got.(map[string]any)
	if !ok {
		return nil, wrong("an object")
	}
	d := new(starlark.Dict)
	for key, value := range starlark.Entries(like) {
		name := string(key.(starlark.String)) // shapely has seen to that
		x, ok := all[name]
		if !ok {
			return nil, fmt.Errorf("got no %q%s, want one as in like", notation.Clean(name, 60), where)
		}
		v, err := shaped(x, value, place0(where)+"."+notation.Clean(name, 60))
		if err != nil {
			return nil, err
		}
		if err := d.SetKey(key, v); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// place0 begins the place of a part.
func place0(where string) string {
	if where == "" {
		return " at "
	}
	return where
}

func gotJSON(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprintf("bool %t", v)
	case json.Number:
		return "number " + notation.Clean(v.String(), 24)
	case string:
		return notation.Quote(v)
	case []any:
		return "a list"
	}
	return "an object"
}

// anything makes a value of whatever JSON there is.
func anything(got any) starlark.Value {
	switch v := got.(type) {
	case bool:
		return starlark.Bool(v)
	case string:
		return starlark.String(v)
	case json.Number:
		if n, err := readNumber(v); err == nil {
			return n
		}
		return starlark.String(v.String())
	case []any:
		items := make([]starlark.Value, len(v))
		for i, x := range v {
			items[i] = anything(x)
		}
		return starlark.NewList(items)
	case map[string]any:
		d := new(starlark.Dict)
		for name, x := range v {
			_ = d.SetKey(starlark.String(name), anything(x)) // strings can be keys
		}
		return d
	}
	return starlark.None
}

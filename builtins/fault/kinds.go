package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kinds has every kind of fault by its name in the language.
var Kinds = map[string]func() Fault{
	"kill":    func() Fault { return &kill{} },
	"pause":   func() Fault { return &pause{} },
	"restart": func() Fault { return &restart{} },
	"stop":    func() Fault { return &stop{} },
}

// New makes a fault that has yet to be prepared. It refuses parameters that the
// kind does not know.
func New(kind string, params json.RawMessage) (Fault, error) {
	f, err := blank(kind)
	if err != nil {
		return nil, err
	}
	p := f.Params()
	if len(params) > 0 && !bytes.Equal(params, []byte("null")) {
		d := json.NewDecoder(bytes.NewReader(params))
		d.DisallowUnknownFields()
		if err := d.Decode(p); err != nil {
			return nil, fmt.Errorf("%s: parameters: %w", kind, err)
		}
		if d.More() {
			return nil, fmt.Errorf("%s: parameters: %w", kind, errors.New("more than one value"))
		}
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return f, nil
}

// Load makes a fault again from what json.Marshal made of it.
func Load(kind string, whole json.RawMessage) (Fault, error) {
	f, err := blank(kind)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(whole, f); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return f, nil
}

func blank(kind string) (Fault, error) {
	make, known := Kinds[kind]
	if !known {
		return nil, fmt.Errorf("fault: got kind %q, want one of %s", kind,
			strings.Join(slices.Sorted(maps.Keys(Kinds)), ", "))
	}
	return make(), nil
}

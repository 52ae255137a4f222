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
	"exec":           func() Fault { return &exec{} },
	"exhaust_inodes": func() Fault { return &exhaustInodes{} },
	"fill_disk":      func() Fault { return &fillDisk{} },
	"kill":           func() Fault { return &kill{} },
	"netem":          func() Fault { return &emulated{} },
	"partition":      func() Fault { return &partition{} },
	"pause":          func() Fault { return &pause{} },
	"restart":        func() Fault { return &restart{} },
	"throttle_io":    func() Fault { return &throttleIO{} },
	"stop":           func() Fault { return &stop{} },
}

// New makes a fault that has yet to be prepared. It refuses parameters that the
// kind does not know.
func New(kind string, params json.RawMessage) (Fault, error) {
	f, err := blank(kind)
	if err != nil {
		return nil, err
	}
	if err := decode(params, f.Params()); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return f, nil
}

// decode reads parameters, all of them known and valid.
func decode(params json.RawMessage, p Params) error {
	if len(params) > 0 && !bytes.Equal(params, []byte("null")) {
		d := json.NewDecoder(bytes.NewReader(params))
		d.DisallowUnknownFields()
		if err := d.Decode(p); err != nil {
			return fmt.Errorf("parameters: %w", err)
		}
		if d.More() {
			return errors.New("parameters: more than one value")
		}
	}
	return p.Validate()
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

package builtins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"unicode/utf8"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
)

const (
	maxJSON  = 256 << 10 // bytes
	maxDepth = 20        // of lists in lists; a list in itself has no end
)

var errBigJSON = fmt.Errorf("got more than %d KiB of JSON", maxJSON>>10)

// faultKey marks a fault's handle in JSON; no dict may have such a key.
const faultKey = "$fault"

type handleJSON struct {
	Kind    string   `json:"kind"`
	ID      string   `json:"id"`
	Targets []string `json:"targets"`
}

// toJSON writes None, bools, numbers, strings, lists, tuples, dicts with
// strings as keys, and handles of faults.
func toJSON(v starlark.Value) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, v, 0); err != nil {
		return nil, err
	}
	if b.Len() > maxJSON {
		return nil, errBigJSON
	}
	return b.Bytes(), nil
}

func writeJSON(b *bytes.Buffer, v starlark.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("got lists nested more than %d deep, or a list in itself", maxDepth)
	}
	if b.Len() > maxJSON { // soon enough for a list that holds one long string a million times
		return errBigJSON
	}
	switch v := v.(type) {
	case starlark.NoneType:
		b.WriteString("null")
	case starlark.Bool:
		fmt.Fprintf(b, "%t", bool(v))
	case starlark.Int:
		b.WriteString(v.String())
	case starlark.Float:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("got float %s, want a finite number", v)
		}
		b.WriteString(v.String())
	case starlark.String:
		if !utf8.ValidString(string(v)) { // JSON has no bytes: it would come back as another string
			return fmt.Errorf("got a string that is no UTF-8")
		}
		raw, err := json.Marshal(string(v))
		if err != nil {
			return err
		}
		b.Write(raw)
	case *starlark.List, starlark.Tuple:
		return writeList(b, v.(starlark.Iterable), depth)
	case *starlark.Dict:
		return writeDict(b, v, depth)
	case secret:
		fmt.Fprintf(b, "%q", v.Mark())
	case *handle:
		raw, err := json.Marshal(map[string]handleJSON{faultKey: {v.kind, v.id, v.targets}})
		if err != nil {
			return err
		}
		b.Write(raw)
	default:
		return fmt.Errorf("got %s, want None, bools, numbers, strings, lists, dicts or handles of faults", v.Type())
	}
	return nil
}

func writeList(b *bytes.Buffer, list starlark.Iterable, depth int) error {
	b.WriteByte('[')
	first := true
	for x := range starlark.Elements(list) {
		if !first {
			b.WriteByte(',')
		}
		first = false
		if err := writeJSON(b, x, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func writeDict(b *bytes.Buffer, d *starlark.Dict, depth int) error {
	b.WriteByte('{')
	first := true
	for key, value := range starlark.Entries(d) {
		name, ok := key.(starlark.String)
		if !ok || name == faultKey {
			return fmt.Errorf("got a dict with the key %s, want strings other than %q", notation.Got(key), faultKey)
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		raw, err := json.Marshal(string(name))
		if err != nil {
			return err
		}
		b.Write(append(raw, ':'))
		if err := writeJSON(b, value, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// fromJSON reads what toJSON wrote; tuples have become lists.
func (s *Session) fromJSON(raw json.RawMessage) (starlark.Value, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := s.readJSON(d, 0)
	if err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("arguments: got more than one value")
	}
	return v, nil
}

func (s *Session) readJSON(d *json.Decoder, depth int) (starlark.Value, error) {
	if depth > maxDepth+2 {
		return nil, fmt.Errorf("nested too deep")
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case nil:
		return starlark.None, nil
	case bool:
		return starlark.Bool(t), nil
	case string:
		return starlark.String(t), nil
	case json.Number:
		return readNumber(t)
	case json.Delim:
		if t == '[' {
			return s.readList(d, depth)
		}
		return s.readDict(d, depth)
	}
	return nil, fmt.Errorf("got %v", t)
}

func readNumber(n json.Number) (starlark.Value, error) {
	if i, ok := new(big.Int).SetString(n.String(), 10); ok {
		return starlark.MakeBigInt(i), nil
	}
	f, err := n.Float64()
	return starlark.Float(f), err
}

func (s *Session) readList(d *json.Decoder, depth int) (starlark.Value, error) {
	var items []starlark.Value
	for d.More() {
		v, err := s.readJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	_, err := d.Token()
	return starlark.NewList(items), err
}

func (s *Session) readDict(d *json.Decoder, depth int) (starlark.Value, error) {
	dict := new(starlark.Dict)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		if key == faultKey {
			var h handleJSON
			if err := d.Decode(&h); err != nil {
				return nil, err
			}
			_, err := d.Token()
			return &handle{s: s, kind: h.Kind, id: h.ID, targets: h.Targets}, err
		}
		v, err := s.readJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		if err := dict.SetKey(starlark.String(key.(string)), v); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return dict, err
}

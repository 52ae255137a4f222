package builtins

import (
	"fmt"
	"maps"
	"strings"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
)

// requestBody is a text, or a dict or list that is sent as JSON.
type requestBody struct {
	text string
	json bool
}

// Unpack implements starlark.Unpacker.
func (b *requestBody) Unpack(v starlark.Value) error {
	if s, ok := v.(secret); ok {
		v = starlark.String(s.Mark())
	}
	switch v := v.(type) {
	case starlark.String:
		if len(v) > maxJSON {
			return fmt.Errorf("got %d bytes, want at most %d KiB", len(v), maxJSON>>10)
		}
		*b = requestBody{text: string(v)}
		return nil
	case *starlark.Dict, *starlark.List:
		raw, err := toJSON(v)
		if err != nil {
			return err
		}
		*b = requestBody{text: string(raw), json: true}
		return nil
	}
	return fmt.Errorf(`got %s, want a string, or a dict such as {"product": "coffee"}, which is sent as JSON`, notation.Got(v))
}

// with is the headers, and the type of a JSON body where they do not tell it.
func (b requestBody) with(headers notation.Headers) map[string]string {
	if !b.json {
		return headers
	}
	out := map[string]string{"Content-Type": "application/json"}
	for name := range headers {
		if strings.EqualFold(name, "Content-Type") {
			delete(out, "Content-Type")
		}
	}
	maps.Copy(out, headers)
	return out
}

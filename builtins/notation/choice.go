package notation

import (
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
)

// Choice is one of a few words. The zero Choice takes nothing: set Of first.
type Choice struct {
	Of    []string
	Value string
}

// Unpack implements starlark.Unpacker.
func (c *Choice) Unpack(v starlark.Value) error {
	s, ok := v.(starlark.String)
	if !ok || !slices.Contains(c.Of, string(s)) {
		quoted := make([]string, len(c.Of))
		for i, word := range c.Of {
			quoted[i] = strconv.Quote(word)
		}
		return want(v, "%s", strings.Join(quoted, " or "))
	}
	c.Value = string(s)
	return nil
}

// Count is an int from 1 to 10000.
type Count int

// Unpack implements starlark.Unpacker.
func (c *Count) Unpack(v starlark.Value) error {
	i, ok := v.(starlark.Int)
	if !ok {
		return want(v, "a number of containers such as 2")
	}
	n, err := starlark.AsInt32(i)
	if err != nil || n < 1 || n > 10000 {
		return want(v, "a number from 1 to 10000")
	}
	*c = Count(n)
	return nil
}

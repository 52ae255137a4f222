package notation

import (
	"slices"

	"go.starlark.net/starlark"
)

// Statuses are HTTP statuses, in order, none twice: 200, "2xx", or a list.
type Statuses []int

// Unpack implements starlark.Unpacker.
func (t *Statuses) Unpack(v starlark.Value) error {
	var items []starlark.Value
	switch v := v.(type) {
	case *starlark.List, starlark.Tuple:
		if n := starlark.Len(v); n == 0 || n > 100 {
			return want(v, "1 to 100 statuses: this has %d", n)
		}
		items = slices.Collect(starlark.Elements(v.(starlark.Iterable)))
	default:
		items = []starlark.Value{v}
	}
	var out Statuses
	for _, item := range items {
		first, last, ok := statusRange(item)
		if !ok {
			return want(item, `a status such as 200, a class such as "2xx", or a list of them`)
		}
		for s := first; s <= last; s++ {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	*t = slices.Compact(out)
	return nil
}

func statusRange(v starlark.Value) (first, last int, ok bool) {
	switch v := v.(type) {
	case starlark.Int:
		n, err := starlark.AsInt32(v)
		return n, n, err == nil && n >= 100 && n <= 599
	case starlark.String:
		if len(v) == 3 && v[0] >= '1' && v[0] <= '5' && v[1:] == "xx" {
			first = int(v[0]-'0') * 100
			return first, first + 99, true
		}
	}
	return 0, 0, false
}

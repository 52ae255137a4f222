package notation

import (
	"go.starlark.net/starlark"
)

// Size is a number of bytes, greater than 0: "256MiB", "10MB".
type Size int64

var sizeUnits = map[string]float64{
	"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

// Unpack implements starlark.Unpacker.
func (z *Size) Unpack(v starlark.Value) error {
	const written = `a size such as "256MiB" or "10MB"`
	s, ok := v.(starlark.String)
	if !ok {
		return want(v, "%s", written)
	}
	n, unit, ok := number(string(s))
	factor, known := sizeUnits[unit]
	if !ok || !known {
		return want(v, "%s (units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)", written)
	}
	bytes := n * factor
	if bytes < 1 || bytes > 1<<53 {
		return want(v, "a size from 1B to 8192TiB")
	}
	*z = Size(bytes)
	return nil
}

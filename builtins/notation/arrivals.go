package notation

import (
	"strings"

	"go.starlark.net/starlark"
)

// Arrivals is a rate in requests a second, greater than 0: "40/s", "600/m".
type Arrivals float64

// MaxArrivals is more than one machine sends; above it a typo is likelier.
const MaxArrivals = 100_000

// Unpack implements starlark.Unpacker.
func (a *Arrivals) Unpack(v starlark.Value) error {
	const written = `a rate such as "40/s" or "600/m"`
	s, ok := v.(starlark.String)
	if !ok {
		switch v.(type) {
		case starlark.Int, starlark.Float:
			return want(v, `%s: write %q for so many a second`, written, Short(v)+"/s")
		}
		return want(v, "%s", written)
	}
	left, unit, _ := strings.Cut(string(s), "/")
	n, rest, ok := number(left)
	seconds, known := map[string]float64{"s": 1, "m": 60, "min": 60, "h": 3600}[unit]
	if !ok || rest != "" || !known {
		return want(v, "%s", written)
	}
	rate := n / seconds
	if rate < 1.0/3600 || rate > MaxArrivals {
		return want(v, `a rate from "1/h" to "%d/s"`, MaxArrivals)
	}
	*a = Arrivals(rate)
	return nil
}

package notation

import (
	"math"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
)

// Percent is a share in (0, 1]: "80%" or 0.8. An int is refused: is 1 one per
// cent, or all?
type Percent float64

// Unpack implements starlark.Unpacker.
func (p *Percent) Unpack(v starlark.Value) error {
	const written = `a share such as "80%%" or 0.8`
	var x float64
	switch v := v.(type) {
	case starlark.String:
		var ok bool
		if x, ok = parsePercent(string(v)); !ok {
			return want(v, written)
		}
	case starlark.Float:
		x = float64(v)
	case starlark.Int:
		return want(v, `"%s%%" or a float: is %s so many per cent, or so many times all?`, Short(v), Short(v))
	default:
		return want(v, written)
	}
	if math.IsNaN(x) || x <= 0 || x > 1 {
		return want(v, `more than 0%% and at most 100%% (1.0)`)
	}
	*p = Percent(x)
	return nil
}

// parsePercent reads "80%" as 0.8.
func parsePercent(s string) (float64, bool) {
	digits, ok := strings.CutSuffix(s, "%")
	if !ok {
		return 0, false
	}
	return hundredths(digits)
}

// hundredths reads "99.9" as 0.999, and not as what dividing would make of it.
func hundredths(digits string) (float64, bool) {
	if _, unit, ok := number(digits); !ok || unit != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(digits+"e-2", 64)
	return n, err == nil
}

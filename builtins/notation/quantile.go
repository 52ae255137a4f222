package notation

import (
	"math"
	"strings"

	"go.starlark.net/starlark"
)

// Quantile is in (0, 1): "p99", "p99.9" or 0.99.
type Quantile float64

// Unpack implements starlark.Unpacker.
func (q *Quantile) Unpack(v starlark.Value) error {
	const written = `a quantile such as "p99" or 0.99`
	var x float64
	switch v := v.(type) {
	case starlark.String:
		digits, ok := strings.CutPrefix(string(v), "p")
		n, isNumber := hundredths(digits)
		if !ok || !isNumber {
			return want(v, "%s", written)
		}
		x = n
	case starlark.Float:
		x = float64(v)
	default:
		return want(v, "%s", written)
	}
	if math.IsNaN(x) || x <= 0 || x >= 1 {
		return want(v, `%s: between "p0" and "p100"`, written)
	}
	*q = Quantile(x)
	return nil
}

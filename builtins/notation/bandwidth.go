package notation

import (
	"go.starlark.net/starlark"
)

// Bandwidth is a number of bits a second, greater than 0: "100kbit", "10Mbit".
type Bandwidth int64

var bandwidthUnits = map[string]float64{
	"bit": 1, "kbit": 1e3, "Kbit": 1e3, "mbit": 1e6, "Mbit": 1e6, "gbit": 1e9, "Gbit": 1e9,
}

// Unpack implements starlark.Unpacker.
func (b *Bandwidth) Unpack(v starlark.Value) error {
	const written = `a bandwidth in bits a second such as "100kbit" or "10Mbit"`
	s, ok := v.(starlark.String)
	if !ok {
		return want(v, "%s", written)
	}
	n, unit, ok := number(string(s))
	factor, known := bandwidthUnits[unit]
	if !ok || !known {
		return want(v, "%s (units: bit, kbit, Mbit, Gbit)", written)
	}
	bits := n * factor
	if bits < 1 || bits > 1e12 {
		return want(v, "a bandwidth from 1bit to 1000Gbit")
	}
	*b = Bandwidth(bits)
	return nil
}

package emulate

import (
	"math"

	"chaosrunner/builtins/fault/netem"
)

const tableSize = 4096

// Table is a distribution as the kernel's netem takes it: jitters, 8192 for
// one, of which it picks one with equal chances.
func Table(e netem.Emulation) []int16 {
	if e.Distribution == netem.OwnTable {
		return e.Table
	}
	at := quantile(e.Distribution, nil)
	table := make([]int16, tableSize)
	for i := range table {
		x := math.Round(tableScale * at((float64(i)+0.5)/tableSize))
		table[i] = int16(max(math.MinInt16, min(math.MaxInt16, x)))
	}
	return table
}

package emulate

import (
	"math"
	"math/rand/v2"

	"chaosrunner/builtins/fault/netem"
)

// correlated yields numbers that are uniform in 0..1, each correlated with the
// one before: a walk of normal numbers z' = ρz + √(1−ρ²)·N, seen through the
// normal distribution function.
type correlated struct {
	rnd *rand.Rand
	rho float64
	z   float64
}

func newCorrelated(rnd *rand.Rand, rho float64) *correlated {
	return &correlated{rnd: rnd, rho: rho, z: rnd.NormFloat64()}
}

func (c *correlated) next() float64 {
	if c.rho == 0 {
		return c.rnd.Float64()
	}
	c.z = c.rho*c.z + math.Sqrt(1-c.rho*c.rho)*c.rnd.NormFloat64()
	return math.Erfc(-c.z/math.Sqrt2) / 2
}

// below is true in a share of calls.
func (c *correlated) below(share float64) bool {
	return share > 0 && (share >= 1 || c.next() < share)
}

// tableScale in a table is one jitter.
const tableScale = 8192

// quantile is the distribution of jitter: from a number in 0..1 to how many
// jitters a delay is off. The formulas are those from which iproute2 makes its
// tables; like these they end at ±4.
func quantile(name string, table []int16) func(float64) float64 {
	switch name {
	case netem.Normal:
		return normal
	case netem.Pareto:
		return pareto
	case netem.ParetoNormal:
		return func(u float64) float64 { return 0.25*normal(u) + 0.75*pareto(u) }
	case netem.OwnTable:
		return func(u float64) float64 {
			return float64(table[min(int(u*float64(len(table))), len(table)-1)]) / tableScale
		}
	}
	return func(u float64) float64 { return 2*u - 1 }
}

const edge = 4 // a little less than 32768/8192

func normal(u float64) float64 {
	return max(-edge, min(edge, math.Sqrt2*math.Erfinv(2*u-1)))
}

// pareto has the shape 3, moved so that its mean is 0.
func pareto(u float64) float64 {
	return min(edge, (math.Pow(1-u, -1.0/3)-1.5)*4/3)
}

package sli

import "math"

// z is the 97.5 % point of the normal distribution: 95 % lie within ±z.
const z = 1.959963984540054

// Wilson returns the 95 % score interval for a proportion of which good in
// total were observed:
//
//	(p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)    p = good/n, n = total
//
// E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
// Inference", JASA 22 (1927) 209–212; method 3 in R. G. Newcombe, Statistics in
// Medicine 17 (1998) 857–872. It stays within 0..1 and is honest near the ends,
// where objectives are: n of n is not proof of 100 %, its lower bound is
// n/(n+z²). With no observations it is 0..1.
func Wilson(good, total int64) (low, high float64) {
	if total <= 0 {
		return 0, 1
	}
	good = min(max(good, 0), total)
	n := float64(total)
	p := float64(good) / n
	mid, half := p+z*z/(2*n), z*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	low, high = (mid-half)/(1+z*z/n), (mid+half)/(1+z*z/n)
	// Exact at the ends, where rounding would leave 0.9999999999999999.
	if good == 0 {
		low = 0
	}
	if good == total {
		high = 1
	}
	return low, high
}

// MaxProof is the largest objective that n requests without an error prove:
// the lower bound n/(n+z²) of their Wilson interval. 1,800 prove 0.9979.
func MaxProof(n int64) float64 {
	low, _ := Wilson(n, n)
	return low
}

// NeedFor is how many requests without an error it takes to prove a minimum:
// the smallest n with MaxProof(n) >= objective. For an objective of 1 or more
// there is none, and it returns math.MaxInt64. For a maximum m (a share of
// errors) ask for 1-m.
func NeedFor(objective float64) int64 {
	if math.IsNaN(objective) || objective >= 1 {
		return math.MaxInt64
	}
	guess := objective * z * z / (1 - objective)
	if guess > 1<<53 {
		return math.MaxInt64
	}
	n := max(1, int64(guess))
	for MaxProof(n) < objective {
		n++
	}
	for n > 1 && MaxProof(n-1) >= objective {
		n--
	}
	return n
}

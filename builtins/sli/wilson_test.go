package sli

import (
	"math"
	"testing"
)

// R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
func TestWilsonAgainstPublishedValues(t *testing.T) {
	for _, c := range []struct {
		good, total int64
		low, high   float64
	}{
		{81, 263, 0.2553, 0.3662},
		{15, 148, 0.0624, 0.1605},
		{0, 20, 0.0000, 0.1611},
		{1, 29, 0.0061, 0.1718},
	} {
		low, high := Wilson(c.good, c.total)
		if math.Abs(low-c.low) > 5e-5 || math.Abs(high-c.high) > 5e-5 {
			t.Errorf("%d/%d: got %.4f to %.4f, want %.4f to %.4f", c.good, c.total, low, high, c.low, c.high)
		}
	}
}

func TestWilsonAtTheEnds(t *testing.T) {
	for _, n := range []int64{1, 2, 3, 10, 1800, 1 << 40} {
		if low, high := Wilson(0, n); low != 0 || high <= 0 || high >= 1 {
			t.Errorf("0/%d: got %v to %v", n, low, high)
		}
		if low, high := Wilson(n, n); high != 1 || low <= 0 || low >= 1 || !near(low, float64(n)/(float64(n)+z*z)) {
			t.Errorf("%d/%d: got %v to %v", n, n, low, high)
		}
	}
	if low, high := Wilson(0, 0); low != 0 || high != 1 {
		t.Errorf("0/0: got %v to %v, want 0 to 1", low, high)
	}
}

func TestMaxProof(t *testing.T) {
	if got := MaxProof(1800); math.Abs(got-0.9979) > 5e-5 {
		t.Errorf("got %v, want 0.9979", got)
	}
	for _, c := range []struct {
		objective float64
		want      int64
	}{{0.99, 381}, {0.999, 3838}, {0.5, 4}, {0, 1}, {-1, 1}, {1, math.MaxInt64}, {1.5, math.MaxInt64}, {math.NaN(), math.MaxInt64}, {1 - 1e-16, math.MaxInt64}} {
		n := NeedFor(c.objective)
		if n != c.want {
			t.Errorf("%v: got %d, want %d", c.objective, n, c.want)
		}
		if n < math.MaxInt64 && (MaxProof(n) < c.objective || n > 1 && MaxProof(n-1) >= c.objective) {
			t.Errorf("%v: %d is not the smallest that proves it", c.objective, n)
		}
	}
}

package supervise

import "testing"

// Whatever a run sends with, all of it together holds no more than one may alone;
// and nobody's share is less than its own need, as long as there is room for all.
func TestShare(t *testing.T) {
	for _, needs := range [][]float64{{80}, {80, 10}, {1000, 900, 60}, {5000, 5000, 1}} {
		whole, sum := 0.0, 0
		for _, n := range needs {
			whole += n
		}
		for _, n := range needs {
			got := share(allInFlight, n, whole)
			sum += got
			if got < 10 || whole <= allInFlight && float64(got) < n {
				t.Errorf("%v: got %d for %v", needs, got, n)
			}
		}
		if sum > allInFlight+10*len(needs) {
			t.Errorf("%v: got %d together", needs, sum)
		}
	}
	if got := share(allInFlight, 80, 80); got != allInFlight {
		t.Errorf("got %d alone", got)
	}
}

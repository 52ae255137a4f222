package shop_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const arrivals = 40 // a second

func attack(url string, length time.Duration) <-chan vegeta.Results {
	target := vegeta.NewStaticTargeter(vegeta.Target{
		Method: http.MethodPost,
		URL:    url + "/checkout",
		Body:   []byte(`{"product":"tea","quantity":1}`),
		Header: http.Header{"Content-Type": {"application/json"}},
	})
	done := make(chan vegeta.Results, 1)
	go func() {
		var all vegeta.Results
		attacker := vegeta.NewAttacker(vegeta.Timeout(15 * time.Second))
		for r := range attacker.Attack(target, vegeta.Rate{Freq: arrivals, Per: time.Second}, length, "checkout") {
			all.Add(r)
		}
		done <- all
	}()
	return done
}

type figures struct {
	n              int
	good, degraded float64
	p50, p99, max  time.Duration
	codes          map[uint16]int
}

// window sums up the requests sent between two moments.
func window(all vegeta.Results, from, to time.Time) figures {
	f := figures{codes: map[uint16]int{}}
	var latencies []time.Duration
	for _, r := range all {
		if r.Timestamp.Before(from) || !r.Timestamp.Before(to) {
			continue
		}
		latencies = append(latencies, r.Latency)
		f.codes[r.Code]++
		if r.Code == http.StatusOK {
			f.good++
		}
		if degraded(r) {
			f.degraded++
		}
	}
	if f.n = len(latencies); f.n == 0 {
		return f
	}
	slices.Sort(latencies)
	f.good /= float64(f.n)
	f.degraded /= float64(f.n)
	f.p50, f.p99, f.max = latencies[f.n/2], latencies[f.n*99/100], latencies[f.n-1]
	return f
}

func (f figures) String() string {
	return fmt.Sprintf("%4d requests, good %.4f, degraded %.4f, p50 %v, p99 %v, max %v, codes %v", f.n, f.good, f.degraded,
		f.p50.Round(time.Millisecond), f.p99.Round(time.Millisecond), f.max.Round(time.Millisecond), f.codes)
}

func degraded(r vegeta.Result) bool { return strings.Contains(string(r.Body), `"degraded":true`) }

func sinceLast(all vegeta.Results, from time.Time) (last time.Duration) {
	for _, r := range all {
		if r.Timestamp.After(from) && (r.Code != http.StatusOK || degraded(r)) {
			last = max(last, r.Timestamp.Sub(from))
		}
	}
	return last
}

package supervise

import (
	"fmt"
	"os"
	"strings"
	"time"

	"chaosrunner/builtins/sli"
	"chaosrunner/runner/journal"
)

// What all traffic and all probes of a run may hold together, so that the
// supervisor stays under 256 MiB.
const (
	allInFlight = 2_000     // requests under way, of 40 kB each
	allResults  = 4_000_000 // of 24 B each
)

// prepare makes the senders of a run's traffic and probes. Each has its share of
// what they may hold, by what it needs: as many requests are under way as arrive
// within the time that one may take.
func (s *sources) prepare(interval time.Duration, config *sli.Config) error {
	exp := s.r.exp
	var needs, rates float64
	for _, t := range exp.Traffic {
		needs, rates = needs+t.Arrivals*t.Timeout.Seconds(), rates+t.Arrivals
	}
	for _, p := range exp.Probes {
		needs, rates = needs+p.Timeout.Seconds()/p.Every.Seconds(), rates+1/p.Every.Seconds()
	}
	options := func(name string, rate float64, timeout time.Duration) (sli.TrafficOptions, error) {
		o, err := s.options(name, interval)
		o.MaxInFlight = share(allInFlight, rate*timeout.Seconds(), needs)
		o.MaxResults = int64(share(allResults, rate, rates))
		return o, err
	}
	for _, t := range exp.Traffic {
		o, err := options(t.Name, t.Arrivals, t.Timeout)
		if err != nil {
			return err
		}
		secrets := s.r.secrets.Load()
		if t.Headers, err = secrets.headers(t.Headers); err != nil {
			return err
		}
		if t.Body, err = secrets.body(t.Body); err != nil {
			return err
		}
		sender, err := sli.NewTraffic(t, o)
		if err != nil {
			return err
		}
		s.senders[t.Name], config.Traffic[t.Name] = sender, sender.Results()
	}
	for _, p := range exp.Probes {
		o, err := options(p.Name, 1/p.Every.Seconds(), p.Timeout)
		if err != nil {
			return err
		}
		sender, err := sli.NewProbe(p, o)
		if err != nil {
			return err
		}
		s.senders[p.Name], config.Probes[p.Name] = sender, sender.Results()
	}
	return nil
}

// share is one sender's part of what all may hold together; it is never nothing.
func share(all int, part, whole float64) int {
	return max(10, int(float64(all)*part/whole))
}

func (s *sources) options(name string, interval time.Duration) (sli.TrafficOptions, error) {
	file, err := os.Create(s.r.file("requests-" + fileName(name) + ".csv"))
	if err != nil {
		return sli.TrafficOptions{}, fmt.Errorf("cannot keep the requests: %w", err)
	}
	s.csv = append(s.csv, file)
	var bounds []float64
	for _, o := range s.r.exp.SLOs {
		if o.SLI.Of == name && o.SLI.Q > 0 && o.Max != nil {
			bounds = append(bounds, *o.Max)
		}
	}
	return sli.TrafficOptions{
		URL: s.urls[name], Store: s.store, CSV: maskedWriter{file, s.r.secrets.Load()}, Interval: interval, Bounds: bounds, Now: s.r.now,
		Event: func(msg string) { s.r.journal.Record(journal.Note{Text: msg}) },
	}, nil
}

// fileName makes a name fit for a file.
func fileName(name string) string {
	return strings.Map(func(c rune) rune {
		if c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '_'
	}, name)
}

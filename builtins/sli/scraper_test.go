package sli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scraping runs a Scraper on synctest's clock for a while.
func scraping(t *testing.T, d time.Duration, s *Scraper) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	s.Store, s.Now = NewStore(Limits{}), time.Now
	s.Run(ctx)
}

func fetchOK(context.Context, string) (string, []byte, error) { return "", []byte("x 1\n"), nil }

func TestScraperRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var calls []time.Duration
		s := &Scraper{Endpoints: []Endpoint{{Name: "a", Labels: map[string]string{"instance": "a"}}, {Name: "b", Labels: map[string]string{"instance": "b"}}}}
		s.Fetch = func(_ context.Context, target string) (string, []byte, error) {
			time.Sleep(map[string]time.Duration{"a": 10 * time.Millisecond, "b": 30 * time.Millisecond}[target])
			return "", []byte("x 1\n"), nil
		}
		s.OnSample = func(at time.Time) {
			calls = append(calls, time.Since(begin))
			if v := over(s.Store).Value(ctx, promqlOf("sum(x)"), Window{at, at}); v.V != 2 {
				t.Errorf("at %s: got %+v, want both endpoints' samples", time.Since(begin), v)
			}
		}
		scraping(t, 500*time.Millisecond, s)
		if got := fmt.Sprint(calls); got != "[30ms 230ms 430ms]" {
			t.Errorf("got calls at %s, want one as soon as a round is complete", got)
		}
	})
}

// A slow endpoint does not hold up the others, nor the watcher; it is scraped
// once at a time, times out, and its own late end brings a call.
func TestScraperSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var calls []time.Duration
		var mu sync.Mutex
		count, inFlight := map[string]int{}, map[string]int{}
		s := &Scraper{Timeout: 950 * time.Millisecond, Endpoints: []Endpoint{{Name: "fast", Labels: map[string]string{"i": "f"}}, {Name: "slow", Labels: map[string]string{"i": "s"}}}}
		s.Fetch = func(ctx context.Context, target string) (string, []byte, error) {
			mu.Lock()
			count[target]++
			if inFlight[target]++; inFlight[target] > 1 {
				t.Errorf("%s: %d scrapes at once", target, inFlight[target])
			}
			mu.Unlock()
			defer func() { mu.Lock(); inFlight[target]--; mu.Unlock() }()
			if target == "slow" {
				<-ctx.Done()
				return "", nil, ctx.Err()
			}
			return fetchOK(ctx, target)
		}
		s.OnSample = func(time.Time) { calls = append(calls, time.Since(begin)) }
		scraping(t, 1150*time.Millisecond, s)
		if got, want := fmt.Sprint(calls), "[100ms 200ms 400ms 600ms 800ms 950ms 1.1s]"; got != want {
			t.Errorf("got calls at %s, want %s", got, want)
		}
		if count["fast"] != 6 || count["slow"] != 2 {
			t.Errorf("got %v, want fast scraped 6 times and slow twice", count)
		}
		for _, src := range s.Store.Sources() {
			if src.Name == "slow" && src.Err != "no answer within 950ms" {
				t.Errorf("got %+v", src)
			}
			if src.Name == "fast" && (src.Err != "" || src.Series != 1) {
				t.Errorf("got %+v", src)
			}
		}
	})
}

// A Fetch that ignores its context fails on time, and is not joined by a second.
func TestScraperFetchThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n, calls atomic.Int32
		s := &Scraper{Timeout: time.Second, Endpoints: []Endpoint{{Name: "a"}}}
		release := make(chan struct{})
		s.Fetch = func(context.Context, string) (string, []byte, error) {
			if n.Add(1) == 1 {
				<-release
			}
			return "", []byte("x 1\n"), nil
		}
		s.OnSample = func(time.Time) { calls.Add(1) }
		time.AfterFunc(3*time.Second, func() {
			src := s.Store.Sources()[0]
			if src.Err != "no answer within 1s" || n.Load() != 1 {
				t.Errorf("got %+v after %d scrapes", src, n.Load())
			}
			if calls.Load() < 14 {
				t.Errorf("got %d calls in 3 s, want one each interval all the same", calls.Load())
			}
			close(release)
		})
		scraping(t, 4*time.Second, s)
		if n.Load() < 4 {
			t.Errorf("got %d scrapes, want them to go on", n.Load())
		}
	})
}

func TestScraperFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := 0
		s := &Scraper{Endpoints: []Endpoint{{Name: "a"}}}
		s.Fetch = func(context.Context, string) (string, []byte, error) {
			i++
			switch i {
			case 2:
				panic("a bug")
			case 3:
				return "", []byte("x one\n"), nil
			case 4:
				return "", nil, errors.New("connection refused")
			}
			return "", []byte("x 1\n"), nil
		}
		var got []string
		s.OnSample = func(at time.Time) {
			v := over(s.Store).Value(ctx, promqlOf("x"), Window{at, at})
			got = append(got, fmt.Sprint(v.OK, " ", s.Store.Sources()[0].Err))
		}
		scraping(t, 900*time.Millisecond, s)
		want := []string{"true ", "false fetch panicked: a bug", `false line 1: expected float as value, got "one"`, "false connection refused", "true connection refused"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Calls never overlap, and a slow one holds up no scrape.
func TestScraperSlowHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n, at atomic.Int32
		s := &Scraper{Endpoints: []Endpoint{{Name: "a"}}}
		s.Fetch = func(ctx context.Context, target string) (string, []byte, error) {
			n.Add(1)
			return fetchOK(ctx, target)
		}
		s.OnSample = func(time.Time) {
			if at.Add(1) > 1 {
				t.Error("two calls at once")
			}
			time.Sleep(700 * time.Millisecond)
			at.Add(-1)
		}
		scraping(t, 2100*time.Millisecond, s)
		if n.Load() != 11 {
			t.Errorf("got %d scrapes, want 11", n.Load())
		}
	})
}

func TestScraperWithoutEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := &Scraper{Fetch: fetchOK, OnSample: func(time.Time) { n++ }}
		scraping(t, time.Second, s)
		if n != 5 {
			t.Errorf("got %d calls, want one each interval: traffic is watched too", n)
		}
	})
}

// Bodies that no exposition should be.
func TestHTTPFetch(t *testing.T) {
	noLeaks(t)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintln(w, "x 1")
		case "/500":
			http.Error(w, "the registry\nis broken", 500)
		case "/endless", "/1GB":
			line := []byte(strings.Repeat("x 1\n", 1<<14))
			for range 1 << 14 { // a GiB
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		case "/hang":
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/short":
			w.Header().Set("Content-Length", "100")
			fmt.Fprintln(w, "x 1")
		}
	})
	fetch := HTTPFetch(nil, 1<<20)
	if ct, body, err := fetch(ctx, url+"/metrics"); ct != "text/plain; version=0.0.4" || string(body) != "x 1\n" || err != nil {
		t.Errorf("got %q, %q, %v", ct, body, err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	for path, c := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"/500":   {ctx, `got status 500, want 200: "the registry is broken"`},
		"/1GB":   {ctx, "got more than 1048576 bytes"},
		"/hang":  {short, "deadline exceeded"},
		"/short": {ctx, "unexpected EOF"},
	} {
		if _, _, err := fetch(c.ctx, url+path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", path, err, c.want)
		}
	}
	if _, _, err := fetch(short, url+"/hang"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
	if _, _, err := fetch(ctx, "http://127.0.0.1:1/?token=secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want it without the URL", err)
	}
}

// A real server, scraped over HTTP, until it dies and comes back.
func TestScraperOverHTTP(t *testing.T) {
	noLeaks(t)
	var n, dead atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if dead.Load() == 1 {
			http.Error(w, "dead", 500)
			return
		}
		fmt.Fprintf(w, "# TYPE c_total counter\nc_total %d\n", n.Add(1))
	})
	st := NewStore(Limits{})
	e := NewEvaluator(Config{Store: st, Interval: 20 * time.Millisecond})
	values := make(chan Value, 1000)
	s := &Scraper{Store: st, Endpoints: []Endpoint{{Name: url}}, Fetch: HTTPFetch(nil, 0), Interval: 20 * time.Millisecond, Timeout: 10 * time.Second}
	s.OnSample = func(at time.Time) { values <- e.Value(ctx, promqlOf("c_total"), Window{at.Add(-time.Second), at}) }
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	await := func(what string, f func(Value) bool) {
		t.Helper()
		eventually(t, what, func() bool { return f(<-values) })
	}
	await("a value", func(v Value) bool { return v.OK && v.V > 3 })
	dead.Store(1)
	await("no value", func(v Value) bool { return !v.OK && strings.Contains(v.Why, `got status 500, want 200: "dead"`) })
	dead.Store(0)
	await("a value again", func(v Value) bool { return v.OK })
	cancel()
	<-done
}

package sli

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chaosrunner/builtins/spec"
)

// eventually waits for something to become true; how long that takes is no
// part of any test.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// noLeaks fails the test if it leaves goroutines behind.
func noLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		eventually(t, "the goroutines to end", func() bool {
			if n := runtime.NumGoroutine(); n > before {
				return false
			}
			return true
		})
	})
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func startTraffic(t *testing.T, s spec.Traffic, o TrafficOptions) *Traffic {
	t.Helper()
	if s.Name == "" {
		s.Name = "t"
	}
	if s.Timeout == 0 {
		s.Timeout = 20 * time.Second
	}
	tr, err := NewTraffic(s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Stop() })
	tr.Start(t.Context())
	return tr
}

func (rs *Results) all() (out []result) {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	for _, b := range rs.blocks {
		out = append(out, b.results...)
	}
	return out
}

// answered leaves out the arrivals that a busy machine did not let the runner
// send: no test depends on there being none.
func (rs *Results) answered() []result {
	return slices.DeleteFunc(rs.all(), func(r result) bool { return r.outcome == unknown })
}

func (rs *Results) err(r result) string {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	return rs.errs[r.err]
}

func TestTrafficSendsWhatIsDeclared(t *testing.T) {
	noLeaks(t)
	type seen struct{ method, host, path, body, token, agent string }
	got := make(chan seen, 1000)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.Host, r.URL.String(), string(b), r.Header.Get("X-Token"), r.UserAgent()}
		w.WriteHeader(http.StatusCreated)
	})
	tr := startTraffic(t, spec.Traffic{URL: "http://api:8080/x", Arrivals: 50, Method: "POST", Body: "{}", Headers: map[string]string{"x-token": "s", "host": "shop"}, Expect: []int{201}},
		TrafficOptions{URL: url + "/buy?a=1"})
	want := seen{"POST", "shop", "/buy?a=1", "{}", "s", "chaosrunner (traffic t)"}
	if first := <-got; first != want {
		t.Errorf("got %+v, want %+v", first, want)
	}
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, r := range tr.Results().answered() {
		if r.outcome != ok || r.code != 201 || r.latency <= 0 || r.sent == 0 {
			t.Errorf("got %+v, want it to be good", r)
		}
	}
}

// What counts as a success, and what a failure is called.
func TestTrafficOutcomes(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + closed.Addr().String() + "/?token=secret"
	closed.Close()
	var followed atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok", "/other":
			followed.Add(1)
		case "/redirect":
			http.Redirect(w, r, "/other", http.StatusFound)
		case "/503":
			http.Error(w, "no", http.StatusServiceUnavailable)
		case "/short":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("only this"))
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		case "/hang":
			<-r.Context().Done()
		case "/reset":
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	})
	for _, c := range []struct {
		url     string
		expect  []int
		outcome outcome
		code    uint16
		err     string
	}{
		{url + "/ok", nil, ok, 200, ""},
		{url + "/ok", []int{204}, failed, 200, "got status 200"},
		{url + "/redirect", nil, ok, 302, ""},
		{url + "/redirect", []int{200}, failed, 302, "got status 302"},
		{url + "/503", nil, failed, 503, "got status 503"},
		{url + "/503", []int{503}, ok, 503, ""},
		{url + "/short", nil, failed, 0, "unexpected EOF"},
		{url + "/endless", nil, failed, 0, "no whole answer within 300ms"},
		{url + "/hang", nil, failed, 0, "no whole answer within 300ms"},
		{url + "/reset", nil, failed, 0, "connection reset by peer"},
		{refused, nil, failed, 0, "connection refused"},
	} {
		t.Run(c.url[strings.LastIndex(c.url, "/"):]+fmt.Sprint(c.expect), func(t *testing.T) {
			timeout := 20 * time.Second
			if strings.Contains(c.err, "300ms") {
				timeout = 300 * time.Millisecond
			}
			tr := startTraffic(t, spec.Traffic{URL: c.url, Arrivals: 20, Expect: c.expect, Timeout: timeout}, TrafficOptions{})
			eventually(t, "three results: one failure does not stop it", func() bool { return len(tr.Results().answered()) >= 3 })
			if err := tr.Stop(); err != nil {
				t.Fatal(err)
			}
			for _, r := range tr.Results().answered() {
				text := tr.Results().err(r)
				if r.outcome != c.outcome || r.code != c.code || !strings.Contains(text, c.err) || strings.Contains(text, "secret") || strings.Contains(text, "->") {
					t.Errorf("got %s, %d, %q; want %s, %d, %q", r.outcome, r.code, text, c.outcome, c.code, c.err)
				}
			}
			if n := len(tr.Results().errs); n > 5 {
				t.Errorf("got %d error texts for one failure: %q", n, tr.Results().errs)
			}
		})
	}
	eventually(t, "the good requests", func() bool { return followed.Load() > 0 })
}

// The open model: a target that hangs gets the same arrivals as one that answers.
func TestTrafficKeepsComingWhileTheTargetHangs(t *testing.T) {
	noLeaks(t)
	var arrived atomic.Int64
	release := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		<-release
	})
	tr := startTraffic(t, spec.Traffic{URL: url, Arrivals: 200}, TrafficOptions{})
	eventually(t, "60 arrivals, none answered", func() bool { return arrived.Load() >= 60 })
	if n := tr.InFlight(); n < 60 {
		t.Errorf("got %d in flight, want the 60 that hang", n)
	}
	if n := len(tr.Results().answered()); n != 0 {
		t.Errorf("got %d results, want none yet", n)
	}
	e := resultsEvaluator(tr.Results())
	s := spec.SLI{Kind: spec.KindTrafficSuccess, Of: "t"}
	now := tr.opts.Now()
	wantNone(t, e.Value(ctx, s, Window{now.Add(-time.Minute), now}), "no data: no request of t has ended yet", "in flight")
	close(release)
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := tr.InFlight(); n != 0 {
		t.Errorf("got %d in flight after the end", n)
	}
	if n := int64(len(tr.Results().answered())); n != arrived.Load() {
		t.Errorf("got %d results of %d requests", n, arrived.Load())
	}
}

func TestTrafficInFlightIsBounded(t *testing.T) {
	noLeaks(t)
	var now, most atomic.Int64
	release := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
	})
	var mu sync.Mutex
	var events []string
	tr := startTraffic(t, spec.Traffic{URL: url, Arrivals: 500}, TrafficOptions{MaxInFlight: 5, Event: func(s string) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, s)
	}})
	atTheCap := func(r result) bool {
		return r.outcome == unknown && r.seq == noSeq && tr.Results().err(r) == "not sent: 5 in flight"
	}
	eventually(t, "20 arrivals that are not sent", func() bool {
		return len(tr.Results().all())-len(slices.DeleteFunc(tr.Results().all(), atTheCap)) >= 20
	})
	eventually(t, "the five that are sent", func() bool { return now.Load() == 5 })
	if n := len(tr.Results().answered()); n != 0 {
		t.Errorf("got %d results, want none yet", n)
	}
	close(release)
	eventually(t, "arrivals again", func() bool {
		return slices.ContainsFunc(tr.Results().all(), func(r result) bool { return r.outcome == ok && r.seq > 5 })
	})
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 5 {
		t.Errorf("got %d requests at once, want 5", most.Load())
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.ContainsFunc(events, func(s string) bool { return strings.HasPrefix(s, "traffic t: 5 requests are in flight, the cap") }) {
		t.Errorf("got events %q", events)
	}
	// Arrivals that were not sent are never a reason to say held.
	w := Window{t0, time.Now().Add(time.Hour)}
	j := resultsEvaluator(tr.Results()).Judge(ctx, atLeast(spec.SLI{Kind: spec.KindTrafficSuccess, Of: "t"}, 0.99), w)
	if j.Verdict == Held || j.Unknown < 20 {
		t.Errorf("got %+v, want it not to be held", j)
	}
}

// Stop waits no longer than the timeout, and a context that ends cuts off.
func TestTrafficEnds(t *testing.T) {
	noLeaks(t)
	var arrived atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		<-r.Context().Done()
	})
	tr, err := NewTraffic(spec.Traffic{Name: "t", URL: url, Arrivals: 100, Timeout: time.Hour}, TrafficOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	tr.Start(ctx)
	eventually(t, "requests in flight", func() bool { return arrived.Load() >= 3 })
	cancel()
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	if left := tr.Results().answered(); len(left) != 0 {
		t.Errorf("got %+v, want none of them to be known", left)
	}
	if !slices.ContainsFunc(tr.Results().all(), func(r result) bool { return tr.Results().err(r) == "cut off by the end of the traffic" }) {
		t.Error("got no result that was cut off")
	}
	tr, err = NewTraffic(spec.Traffic{Name: "t", URL: url, Arrivals: 100, Timeout: 100 * time.Millisecond}, TrafficOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tr.Start(context.Background())
	before := arrived.Load()
	eventually(t, "requests in flight", func() bool { return arrived.Load() > before })
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := tr.InFlight(); n != 0 {
		t.Errorf("got %d in flight", n)
	}
	if err := tr.Stop(); err != nil {
		t.Error("a second Stop:", err)
	}
}

// After the end no connection is kept.
func TestTrafficClosesItsConnections(t *testing.T) {
	var open, ever atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
			ever.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	s.Start()
	defer s.Close()
	tr := startTraffic(t, spec.Traffic{URL: s.URL, Arrivals: 100}, TrafficOptions{})
	eventually(t, "20 results", func() bool { return len(tr.Results().answered()) >= 20 })
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all connections closed", func() bool { return open.Load() == 0 && ever.Load() > 0 })
}

func TestTrafficNeverStarted(t *testing.T) {
	tr, err := NewTraffic(spec.Traffic{Name: "t", URL: "http://x", Arrivals: 1, Timeout: time.Second}, TrafficOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	tr.Start(ctx) // too late, and no harm
}

func TestTrafficRefuses(t *testing.T) {
	good := spec.Traffic{Name: "t", URL: "http://x/", Arrivals: 1, Timeout: time.Second}
	for want, change := range map[string]func(*spec.Traffic){
		"arrivals = 0/s":       func(s *spec.Traffic) { s.Arrivals = 0 },
		"arrivals = -1/s":      func(s *spec.Traffic) { s.Arrivals = -1 },
		"timeout = 0s":         func(s *spec.Traffic) { s.Timeout = 0 },
		`got url "api:8080/x"`: func(s *spec.Traffic) { s.URL = "api:8080/x" },
		`got url "ftp://x"`:    func(s *spec.Traffic) { s.URL = "ftp://x" },
		"invalid method":       func(s *spec.Traffic) { s.Method = "G T" },
	} {
		s := good
		change(&s)
		if _, err := NewTraffic(s, TrafficOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := NewProbe(spec.Probe{Name: "p", URL: "http://x", Timeout: time.Second}, TrafficOptions{}); err == nil {
		t.Error("got no error for a probe every 0s")
	}
}

func TestTrafficEndsAtTheLimit(t *testing.T) {
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	said := make(chan string, 1000)
	tr := startTraffic(t, spec.Traffic{URL: url, Arrivals: 1000}, TrafficOptions{MaxResults: 10, Event: func(s string) { said <- s }})
	for !strings.Contains(<-said, "ended at 10 results, the limit") {
	}
	<-tr.done
}

// The figures can be recomputed from the CSV alone, and agree with the store.
func TestTrafficCSV(t *testing.T) {
	var n atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%7 == 0 {
			w.WriteHeader(500)
		}
	})
	st := NewStore(Limits{})
	var out bytes.Buffer
	tr := startTraffic(t, spec.Traffic{URL: url, Arrivals: 300}, TrafficOptions{CSV: &out, Store: st, Interval: 10 * time.Millisecond, Bounds: []float64{0.03}})
	eventually(t, "200 results", func() bool { return len(tr.Results().answered()) >= 200 })
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	s := spec.SLI{Kind: spec.KindTrafficSuccess, Of: "t"}
	lat := spec.SLI{Kind: spec.KindTrafficLatency, Of: "t", Q: 0.9}
	w := Window{time.Unix(0, 0), time.Now().Add(time.Hour)}
	e := resultsEvaluator(tr.Results())
	j, jl := e.Judge(ctx, atLeast(s, 0.8), w), e.Judge(ctx, atMost(lat, 5), w)

	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || strings.Join(lines[0], ",") != "seq,sent_unix_ns,latency_ns,status,ok,error" {
		t.Fatalf("got %v, %v", lines[0], err)
	}
	good, total, latencies, seqs := int64(0), int64(0), []int64(nil), map[string]bool{}
	for _, l := range lines[1:] {
		if l[4] == "" {
			continue // not known: it is in no share
		}
		total++
		if l[4] == "true" {
			good++
		}
		ns, err := strconv.ParseInt(l[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		latencies = append(latencies, ns)
		seqs[l[0]] = true
		if (l[3] == "500") != (l[5] == "got status 500") {
			t.Errorf("got %q", l)
		}
	}
	slices.Sort(latencies)
	if j.Value.Good != good || j.Value.Total != total || j.Value.V != float64(good)/float64(total) || total != n.Load() || len(seqs) != int(total) {
		t.Errorf("got %+v from memory, %d of %d from the file, %d requests", j, good, total, n.Load())
	}
	if p90 := time.Duration(latencies[(9*len(latencies)+9)/10-1]); jl.Value.V != p90.Seconds() {
		t.Errorf("got a p90 of %v from memory, %s from the file", jl.Value.V, p90)
	}
	again, err := ReadResults("t", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := resultsEvaluator(again).Judge(ctx, atLeast(s, 0.8), w); fmt.Sprint(got) != fmt.Sprint(j) {
		t.Errorf("got %+v from the file, %+v from memory", got, j)
	}
	// The store's counters end at the same counts.
	se, end := over(st), Window{w.Start, time.Now()}
	ratio := se.Judge(ctx, atLeast(ratioOf(`runner_traffic_requests_total{outcome="ok"}`, `runner_traffic_requests_total{outcome!="unknown"}`), 0.8), end)
	if ratio.Value.Good != good || ratio.Value.Total != total {
		t.Errorf("got %+v from the store, want %d of %d", ratio.Value, good, total)
	}
	if v := se.Value(ctx, promqlOf(`runner_traffic_duration_seconds_bucket{le="0.03"}`), Window{w.Start, tr.ticked}); !v.OK {
		t.Errorf("the objective's threshold is no bucket boundary: %+v", v)
	}
	if v := se.Value(ctx, promqlOf(`runner_traffic_duration_seconds_count`), Window{w.Start, tr.ticked}); v.V != float64(total) {
		t.Errorf("got a histogram of %v, want %d", v, total)
	}
}

func TestReadResultsRefuses(t *testing.T) {
	const head = "seq,sent_unix_ns,latency_ns,status,ok,error\n"
	for _, body := range []string{head + "1,2,3\n", head + "x,2,3,4,true,\n", head + "1,x,3,4,true,\n", head + "1,2,x,4,true,\n", head + "1,2,3,70000,true,\n", head + "1,2,3,4,maybe,\n"} {
		if _, err := ReadResults("t", strings.NewReader(body)); err == nil {
			t.Errorf("%q: got no error", body)
		}
	}
	rs, err := ReadResults("t", strings.NewReader(head+",2,0,0,,not sent\n1,2,3,200,true,\n"))
	if err != nil || len(rs.all()) != 2 || rs.all()[0].outcome != unknown || rs.err(rs.all()[0]) != "not sent" {
		t.Errorf("got %+v, %v", rs, err)
	}
}

// moody is a writer that refuses, takes part, or takes all.
type moody struct {
	bytes.Buffer
	take int
}

func (m *moody) Write(p []byte) (int, error) {
	if m.take < len(p) {
		n, _ := m.Buffer.Write(p[:m.take])
		m.take = 0
		return n, errors.New("no space left on device")
	}
	return m.Buffer.Write(p)
}

// A disk that is full for a while costs no line and repeats none.
func TestCSVOverAFullDisk(t *testing.T) {
	rs := newResults("t", time.Second, 1e6, nil)
	var want, got bytes.Buffer
	whole := newCSVWriter(rs, &want)
	rs.record(result{sent: 5, seq: noSeq, outcome: unknown}, "not sent: 5 in flight")
	m := &moody{take: 10}
	c := newCSVWriter(rs, m)
	for i := range 3 {
		fill(rs, 700, func(int) (time.Duration, outcome) { return time.Second, failed })
		if err := c.flush(); (err == nil) != (i == 2) {
			t.Errorf("flush %d: got %v", i, err)
		}
		m.take = []int{333, 1 << 30, 0}[i]
	}
	if err := whole.flush(); err != nil {
		t.Fatal(err)
	}
	_ = c.flush()
	got = m.Buffer
	if !strings.Contains(want.String(), "\n,5,0,0,,not sent: 5 in flight\n0,") {
		t.Errorf("got %s", want.String()[:200])
	}
	if got.String() != want.String() {
		t.Errorf("got %d bytes, want the same %d as on a good disk", got.Len(), want.Len())
	}
}

// A disk that hangs holds up neither the traffic nor, for long, its end.
func TestTrafficOverAHangingDisk(t *testing.T) {
	var n atomic.Int64
	url := serve(t, func(http.ResponseWriter, *http.Request) { n.Add(1) })
	release := make(chan struct{})
	defer close(release)
	tr := startTraffic(t, spec.Traffic{URL: url, Arrivals: 200, Timeout: 100 * time.Millisecond}, TrafficOptions{Interval: time.Millisecond, CSV: writerFunc(func(p []byte) (int, error) {
		<-release
		return len(p), nil
	})})
	eventually(t, "50 requests", func() bool { return n.Load() >= 50 })
	if err := tr.Stop(); err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("got %v, want it to say that the writing did not end", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestProbe(t *testing.T) {
	noLeaks(t)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	st := NewStore(Limits{})
	p, err := NewProbe(spec.Probe{Name: "home", URL: url, Every: 10 * time.Millisecond, Timeout: 10 * time.Second}, TrafficOptions{Store: st, Interval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	p.Start(ctx)
	eventually(t, "5 results", func() bool { return len(p.Results().answered()) >= 5 })
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	e := NewEvaluator(Config{Store: st, Probes: map[string]*Results{"home": p.Results()}})
	w := Window{time.Now().Add(-time.Hour), time.Now()}
	wantValue(t, e.Value(ctx, spec.SLI{Kind: spec.KindProbeSuccess, Of: "home"}, w), 1)
	if v := e.Value(ctx, spec.SLI{Kind: spec.KindProbeLatency, Of: "home", Q: 0.5}, w); !v.OK || v.V <= 0 {
		t.Errorf("got %+v, want a latency", v)
	}
	if v := e.Value(ctx, promqlOf(`sum(runner_probe_requests_total{probe="home",code="204",outcome="ok"})`), Window{w.Start, p.ticked}); v.V < 5 {
		t.Errorf("got %+v, want at least 5", v)
	}
}

// Error texts are bounded in number.
func TestErrorTextsAreBounded(t *testing.T) {
	rs := newResults("t", time.Second, 1e6, nil)
	for i := range 1000 {
		rs.record(result{outcome: failed}, fmt.Sprint("error ", i))
	}
	if n := len(rs.errs); n != maxErrs+1 {
		t.Errorf("got %d texts, want %d", n, maxErrs+1)
	}
	all := rs.all()
	if got := rs.err(all[0]); got != "error 0" {
		t.Errorf("got %q", got)
	}
	if got := rs.err(all[999]); got != "another error" {
		t.Errorf("got %q", got)
	}
}

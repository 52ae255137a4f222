package sli

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// What is sealed into chunks reads back as it was written, at every edge.
func TestSeriesReadsBack(t *testing.T) {
	st := NewStore(Limits{})
	rng := rand.New(rand.NewPCG(1, 2))
	var want []point
	at := t0
	for range 5*blockSize + 7 {
		at = at.Add(time.Duration(1+rng.IntN(400)) * time.Millisecond)
		v := rng.NormFloat64()
		want = append(want, point{at.UnixMilli(), v})
		if err := st.Append("x", nil, at, v); err != nil {
			t.Fatal(err)
		}
	}
	v := st.find(mustSelect(t, "x"))[0]
	for range 300 {
		i, j := rng.IntN(len(want)), rng.IntN(len(want))
		i, j = min(i, j), max(i, j)
		got := v.points(want[i].t, want[j].t)
		if len(got) != j-i+1 || got[0] != want[i] || got[len(got)-1] != want[j] {
			t.Fatalf("points %d..%d: got %d of them", i, j, len(got))
		}
		if p, ok := v.lastAt(want[i].t); !ok || p != want[i] {
			t.Fatalf("lastAt %d: got %v %v", i, p, ok)
		}
		if p, ok := v.lastAt(want[i].t - 1); ok != (i > 0) || ok && p != want[i-1] {
			t.Fatalf("lastAt before %d: got %v %v", i, p, ok)
		}
	}
}

func mustSelect(t testing.TB, s string) []*labels.Matcher {
	t.Helper()
	m, err := selector(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStoreRefusesOutOfOrder(t *testing.T) {
	st := NewStore(Limits{})
	for i, at := range []time.Time{after(1), after(1), after(0)} {
		if err := st.Append("x", nil, at, 1); (err == nil) != (i == 0) {
			t.Errorf("sample %d: got %v", i, err)
		}
	}
}

func TestStoreLimits(t *testing.T) {
	series := NewStore(Limits{Series: 4})
	scrape(t, series, "api", after(0), "a 1", "b 1") // and runner_scrape_up
	samples := NewStore(Limits{Samples: 6})
	scrape(t, samples, "api", after(0), "a 1", "b 1")
	for name, c := range map[string]struct {
		st   *Store
		body string
	}{
		"series":  {series, "a 1\nb 1\nc 1\nd 1"},
		"samples": {samples, "a 1\nb 1\nc 1\nd 1"},
	} {
		before, _ := c.st.Stats()
		_, err := c.st.Ingest("api", after(1), "", reader(c.body), map[string]string{"instance": "api"})
		if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want ErrFull", name, err)
		}
		if now, _ := c.st.Stats(); now != before {
			t.Errorf("%s: got %d series, want %d", name, now, before)
		}
		// The end is still seen: markers are not held back by the limit.
		wantNone(t, over(c.st).Value(ctx, promqlOf("a"), span(0, 3)), "scrape of api fails", "store is full")
	}
	for i := range 10 {
		if err := samples.Append("own", nil, after(i), 1); errors.Is(err, ErrFull) {
			return
		}
	}
	t.Error("got no error for ten samples more than fit")
}

// A view shows what there was when it was taken, whatever comes after.
func TestViewsDoNotChange(t *testing.T) {
	st := NewStore(Limits{})
	add := func(from, to int) {
		for i := from; i < to; i++ {
			if err := st.Append("x", nil, after(i), float64(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(0, blockSize-1)
	v := st.find(mustSelect(t, "x"))[0]
	before := fmt.Sprint(v.points(0, math.MaxInt64))
	add(blockSize-1, 3*blockSize)
	if got := fmt.Sprint(v.points(0, math.MaxInt64)); got != before {
		t.Errorf("got %s, want %s", got, before)
	}
}

// The base of an increase is found behind a stale marker, sealed or not.
func TestLastAtPassesStaleMarkers(t *testing.T) {
	for _, n := range []int{3, blockSize - 1, blockSize} {
		st := NewStore(Limits{})
		for i := range n {
			scrape(t, st, "api", after(i), fmt.Sprint("x ", i))
		}
		st.Fail("api", after(n), errors.New("down"))
		if p, found := st.find(mustSelect(t, "x"))[0].lastAt(after(n + 5).UnixMilli()); !found || p.v != float64(n-1) {
			t.Errorf("%d samples: got %v %v, want %d", n, p, found, n-1)
		}
	}
}

// Hundreds of series, five times a second, for ten minutes.
func TestStoreIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("1.5 million samples")
	}
	const series, scrapes = 500, 3000
	before := heap()
	st := NewStore(Limits{})
	for s := range series {
		lbls := map[string]string{"path": fmt.Sprint("/", s)}
		for i := range scrapes {
			v := float64(i) * float64(s)
			if s%2 == 0 {
				v = float64(s) // half of what is exposed does not change
			}
			if err := st.Append("http_requests_total", lbls, after(i), v); err != nil {
				t.Fatal(err)
			}
		}
	}
	per := float64(heap()-before) / (series * scrapes)
	t.Logf("%.1f bytes a sample", per)
	if per > 16 {
		t.Errorf("got %.1f bytes a sample, want at most 16", per)
	}
	runtime.KeepAlive(st)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Writers and readers at once, for the race detector; and a reader never sees
// a good that its total has not.
func TestStoreConcurrently(t *testing.T) {
	st := NewStore(Limits{})
	e := over(st)
	scrape(t, st, "api", t0, "good 0", "all 0")
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				w := Window{t0, t0.Add(time.Hour)}
				if v := e.Value(ctx, ratioOf("good", "all"), w); v.OK && v.V != 1 {
					t.Errorf("got %+v, want 1", v)
				}
				e.Value(ctx, promqlOf("sum(rate(all[$window]))"), w)
				e.Fresh(ctx, promqlOf("good/all"), w.End)
				st.Sources()
				_ = st.WriteOpenMetrics(discard{})
			}
		})
	}
	for i := 1; i < 600; i++ {
		scrape(t, st, "api", after(i), fmt.Sprint("good ", i), fmt.Sprint("all ", i))
		if err := st.Append("own", nil, after(i), 1); err != nil {
			t.Error(err)
		}
	}
	close(done)
	readers.Wait()
}

package sli

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
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
	st := NewStore(Limits{Series: 4, Samples: 6})
	scrape(t, st, "api", after(0), "a 1", "b 1") // and runner_scrape_up
	for i, body := range []string{"a 1\nb 1\nc 1\nd 1", "a 1\nb 1\nc 1"} {
		_, err := st.Ingest("api", after(1+i), "", reader(body), map[string]string{"instance": "api"})
		if !errors.Is(err, ErrFull) {
			t.Errorf("%q: got %v, want ErrFull", body, err)
		}
	}
	// The end is still seen: markers are not held back by the limit.
	wantNone(t, over(st).Value(ctx, promqlOf("a"), span(0, 3)), "scrape of api fails", "store is full")
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

// Package shop_test tries the shop that runs in Docker Compose:
//
//	shop/up.sh && SHOP_URL=http://127.0.0.1:8080 go test -v ./shop
package shop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const arrivals = 40 // a second

func shopURL(t *testing.T) string {
	url := os.Getenv("SHOP_URL")
	if url == "" {
		t.Skip("SHOP_URL is not set: this test needs the shop running (shop/up.sh), and kills parts of it")
	}
	return strings.TrimSuffix(url, "/")
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// container finds a service's container, whichever Compose named it.
func container(t *testing.T, service string) string {
	id := docker(t, "ps", "-aq", "--filter", "label=com.docker.compose.project=shop",
		"--filter", "label=com.docker.compose.service="+service)
	if id == "" {
		t.Fatalf("no container of service %s", service)
	}
	return strings.Fields(id)[0]
}

func waitHealthy(t *testing.T, service string) {
	t.Helper()
	id := container(t, service)
	eventually(t, service+" is healthy", func() bool {
		return docker(t, "inspect", "-f", "{{.State.Health.Status}}", id) == "healthy"
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func checkout(t *testing.T, url, body string) (code int, answer struct {
	Order       int64 `json:"order"`
	AmountCents int64 `json:"amount_cents"`
}) {
	t.Helper()
	resp, err := http.Post(url+"/checkout", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// books is what the two sides wrote down.
type books struct{ charges, charged, orders, sold int64 }

func readBooks(t *testing.T) (b books) {
	t.Helper()
	var statement struct {
		Count       int64 `json:"count"`
		AmountCents int64 `json:"amount_cents"`
	}
	if err := json.Unmarshal([]byte(docker(t, "exec", container(t, "payments"), "/payments", "-get", "/charges?limit=0")), &statement); err != nil {
		t.Fatal(err)
	}
	row := docker(t, "exec", container(t, "postgres"), "psql", "-U", "shop", "-At", "-F", " ",
		"-c", "SELECT count(*), coalesce(sum(amount_cents), 0) FROM orders")
	if _, err := fmt.Sscan(row, &b.orders, &b.sold); err != nil {
		t.Fatalf("%q: %v", row, err)
	}
	b.charges, b.charged = statement.Count, statement.AmountCents
	return b
}

func (b books) minus(a books) books {
	return books{b.charges - a.charges, b.charged - a.charged, b.orders - a.orders, b.sold - a.sold}
}

func TestCheckout(t *testing.T) {
	url := shopURL(t)
	before := readBooks(t)
	code, got := checkout(t, url, `{"product":"tea","quantity":2}`)
	if code != http.StatusOK || got.Order == 0 || got.AmountCents != 2980 {
		t.Errorf("got %d, %+v", code, got)
	}
	if code, _ := checkout(t, url, `{"product":"nope","quantity":1}`); code != http.StatusNotFound {
		t.Errorf("unknown product: got %d, want 404", code)
	}
	if code, _ := checkout(t, url, `{"product":"tea","quantity":0}`); code != http.StatusBadRequest {
		t.Errorf("nothing: got %d, want 400", code)
	}
	if got, want := readBooks(t).minus(before), (books{1, 2980, 1, 2980}); got != want {
		t.Errorf("books: got %+v, want %+v", got, want)
	}
}

// A restarted database must have its orders: they are on a disk of their own, which outlives the container.
func TestOrdersSurviveTheDatabase(t *testing.T) {
	url := shopURL(t)
	checkout(t, url, `{"product":"tea","quantity":1}`)
	before := readBooks(t)
	if before.orders == 0 {
		t.Fatal("no orders to lose")
	}
	id := container(t, "postgres")
	for _, blow := range [][]string{{"restart", id}, {"kill", id}} {
		docker(t, blow...)
		docker(t, "start", id)
		waitHealthy(t, "postgres")
		if got := readBooks(t); got != before {
			t.Errorf("after %s: got %+v, want %+v", blow[0], got, before)
		}
	}
	eventually(t, "checkout works again", func() bool {
		code, _ := checkout(t, url, `{"product":"tea","quantity":1}`)
		return code == http.StatusOK
	})
}

// TestCatalogKilled is the first experiment in small: with CATALOG_FALLBACK=on customers do not notice, with off the
// shop dies with its catalogue. Both times it must be back soon after.
func TestCatalogKilled(t *testing.T) {
	url := shopURL(t)
	fallback := strings.Contains(get(t, url+"/metrics"), "\ncatalog_degraded ")
	id := container(t, "catalog")
	t.Cleanup(func() {
		docker(t, "start", id)
		waitHealthy(t, "catalog")
	})
	before := readBooks(t)

	const warm, dead, after = 4 * time.Second, 10 * time.Second, 10 * time.Second
	start := time.Now()
	load := attack(url, warm+dead+after)
	time.Sleep(warm)
	killed := time.Now()
	docker(t, "kill", id)
	time.Sleep(dead)
	docker(t, "start", id)
	started := time.Now()
	results := <-load

	warmed := window(results, start.Add(2*time.Second), start.Add(warm))
	first := window(results, killed, killed.Add(time.Second))
	fault := window(results, killed, started)
	recovery := window(results, started.Add(5*time.Second), start.Add(time.Hour))
	t.Logf("CATALOG_FALLBACK on: %v", fallback)
	t.Log("before      ", warmed)
	t.Log("first second", first)
	t.Log("dead        ", fault)
	t.Log("5 s after   ", recovery)
	t.Logf("last failure or degraded answer %.1f s after catalog's start", sinceLast(results, started).Seconds())

	kept := readBooks(t).minus(before)
	if sold := window(results, start, start.Add(time.Hour)).codes[http.StatusOK]; kept.charges > int64(sold) && kept.orders > int64(sold) {
		t.Fatalf("somebody else uses the shop: %d orders, of which %d are ours", kept.orders, sold)
	}
	if warmed.good < .99 {
		t.Fatalf("the shop was sick before the kill: %v", warmed)
	}
	switch {
	case fallback && (first.good < .99 || fault.good < .99):
		t.Error("with the fallback, customers noticed")
	case fallback && fault.degraded < .9:
		t.Error("the shop does not say that it is degraded")
	case !fallback && fault.good > .5:
		t.Error("without the fallback, the shop lived on: is the catalog dead at all?")
	}
	if recovery.good < .99 || recovery.degraded > .01 {
		t.Error("not recovered")
	}
	if kept.charges != kept.orders || kept.charged != kept.sold {
		t.Errorf("money taken is not what was sold: %+v", kept)
	}
}

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

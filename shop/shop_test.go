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
	"strings"
	"testing"
	"time"
)

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
	Order       int64  `json:"order"`
	AmountCents int64  `json:"amount_cents"`
	Charge      string `json:"charge"`
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

func sql(t *testing.T, query string) string {
	t.Helper()
	return docker(t, "exec", container(t, "postgres"), "psql", "-U", "shop", "-At", "-F", " ", "-c", query)
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
	row := sql(t, "SELECT count(*), coalesce(sum(amount_cents), 0) FROM orders WHERE state = 'confirmed'")
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
	code, got := checkout(t, url, `{"product":"tea","quantity":2}`)
	if code != http.StatusOK || got.Order == 0 || got.AmountCents != 2980 {
		t.Fatalf("got %d, %+v", code, got)
	}
	row := sql(t, fmt.Sprintf("SELECT product, quantity, amount_cents, charge FROM orders WHERE id = %d", got.Order))
	if want := "tea 2 2980 " + got.Charge; row != want {
		t.Errorf("order: got %q, want %q", row, want)
	}
	charges := docker(t, "exec", container(t, "payments"), "/payments", "-get", "/charges?limit=1000")
	if want := fmt.Sprintf(`{"id":%q,"amount_cents":2980,`, got.Charge); !strings.Contains(charges, want) {
		t.Errorf("the provider's ledger lacks %s", want)
	}
	if code, _ := checkout(t, url, `{"product":"nope","quantity":1}`); code != http.StatusNotFound {
		t.Errorf("unknown product: got %d, want 404", code)
	}
	if code, _ := checkout(t, url, `{"product":"tea","quantity":0}`); code != http.StatusBadRequest {
		t.Errorf("nothing: got %d, want 400", code)
	}
}

// A restarted database must have its orders: they are on a disk of their own, which outlives the container.
func TestOrdersSurviveTheDatabase(t *testing.T) {
	url := shopURL(t)
	code, kept := checkout(t, url, `{"product":"tea","quantity":1}`)
	if code != http.StatusOK {
		t.Fatalf("got %d before anything was done to it", code)
	}
	before := readBooks(t)
	id := container(t, "postgres")
	for _, blow := range []string{"restart", "kill"} {
		docker(t, blow, id)
		docker(t, "start", id)
		waitHealthy(t, "postgres")
		if row := sql(t, fmt.Sprintf("SELECT charge FROM orders WHERE id = %d", kept.Order)); row != kept.Charge {
			t.Errorf("after %s: got charge %q of the order, want %q", blow, row, kept.Charge)
		}
		if got := readBooks(t); got.orders < before.orders || got.charges < before.charges {
			t.Errorf("after %s: got %+v, want at least %+v", blow, got, before)
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
	kept := readBooks(t).minus(before)
	if ours := int64(window(results, start, start.Add(time.Hour)).codes[http.StatusOK]); kept.charges > ours && kept.orders > ours {
		t.Logf("books not compared: somebody else uses the shop (%+v, %d ours)", kept, ours)
	} else if kept.charges != kept.orders || kept.charged != kept.sold {
		t.Errorf("money taken is not what was sold: %+v", kept)
	}
}

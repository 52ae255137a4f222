package agent

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/protocol"
)

func request(k *enginetest.Container, path string) protocol.Fetch {
	return protocol.Fetch{Container: k.ID, Port: 8080, Path: path, Timeout: 5 * time.Second, MaxBytes: 1 << 16}
}

// A container without a network is reached all the same, over its loopback.
func TestFetch(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{Network: "none"}).Ready()
	h := hello(t.TempDir())
	c := start(t, h)
	var got protocol.Fetched
	for range 3 {
		if err := c.call(protocol.CallFetch, request(k, "/metrics"), &got); err != nil {
			t.Fatal(err)
		}
		if got.Status != 200 || string(got.Body) != "up 1\n" || !strings.HasPrefix(got.ContentType, "text/plain") || got.Took <= 0 {
			t.Fatalf("got %+v", got)
		}
	}
	t.Logf("a scrape takes %v", got.Took)
	if err := c.call(protocol.CallFetch, request(k, "/nothing?x=1"), &got); err != nil || got.Status != 404 {
		t.Errorf("got %+v, %v", got, err)
	}
	wantCode(t, c.call(protocol.CallFetch, request(k, "/big"), nil), protocol.CodeFailed, "longer than 65536 bytes")
	slow := request(k, "/slow")
	slow.Timeout = 200 * time.Millisecond
	wantCode(t, c.call(protocol.CallFetch, slow, nil), protocol.CodeFailed, "/slow")
	shut := request(k, "/")
	shut.Port = 9
	wantCode(t, c.call(protocol.CallFetch, shut, nil), protocol.CodeFailed, "refused")
	bad := request(k, "metrics")
	wantCode(t, c.call(protocol.CallFetch, bad, nil), protocol.CodeFailed, "begins with /")
	bad.Timeout = 0
	wantCode(t, c.call(protocol.CallFetch, bad, nil), protocol.CodeBad, "timeout")

	// Its next generation is another namespace and other connections.
	c.apply(order("f1", "restart", `{"grace":1000000000}`, k.Target()))
	k.Ready()
	if err := c.call(protocol.CallFetch, request(k, "/metrics"), &got); err != nil || got.Status != 200 {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	k.Kill()
	wantCode(t, c.call(protocol.CallFetch, request(k, "/metrics"), nil), protocol.CodeFailed, "not running")
}

// A paused target answers nothing; requests to it end by their timeouts, do
// not pile up threads, and never keep a beat from being answered.
func TestFetchFromPaused(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{}).Ready()
	c := start(t, hello(t.TempDir()))
	c.apply(order("f1", "pause", `{}`, k.Target()))
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			in := request(k, "/metrics")
			in.Timeout = time.Second
			if err := c.call(protocol.CallFetch, in, nil); err == nil {
				t.Error("a paused container has answered")
			}
		})
	}
	for range 10 {
		began := time.Now()
		if err := c.call(protocol.CallHeartbeat, protocol.Beat{}, nil); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("a beat was answered after %v", took)
		}
	}
	all.Wait()
	tasks, err := os.ReadDir("/proc/" + itoa(c.cmd.Process.Pid) + "/task")
	if err != nil || len(tasks) > 60 {
		t.Errorf("got %d threads, %v", len(tasks), err)
	}
	t.Logf("%d threads after 200 requests at once", len(tasks))
}

func TestAddress(t *testing.T) {
	t.Parallel()
	c := start(t, hello(t.TempDir()))
	published, own := enginetest.Run(t, enginetest.Options{Publish: "18432"}), enginetest.Run(t, enginetest.Options{Network: "bridge"})
	var got protocol.Addressed
	if err := c.call(protocol.CallAddress, protocol.Address{Container: published.ID, Port: 8080}, &got); err != nil {
		t.Fatal(err)
	}
	if want := (protocol.Addressed{Address: "127.0.0.1:18432", Published: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := c.call(protocol.CallAddress, protocol.Address{Container: own.ID, Port: 8080}, &got); err != nil {
		t.Fatal(err)
	}
	if got.Published || !strings.HasSuffix(got.Address, ":8080") {
		t.Errorf("got %+v", got)
	}
	none := enginetest.Run(t, enginetest.Options{Network: "none"})
	wantCode(t, c.call(protocol.CallAddress, protocol.Address{Container: none.ID, Port: 8080}, nil), protocol.CodeFailed, "not published")
}

// Fetched through its own loopback where setns is forbidden is impossible: the
// container's address is the way then.
func TestFetchByAddress(t *testing.T) {
	t.Parallel()
	k := enginetest.Run(t, enginetest.Options{Network: "bridge"}).Ready()
	d := openDoor(k.Inspect(), make(insideSlots, 1))
	defer d.close()
	d.mayNot.Store(true)
	resp, err := d.send(t.Context(), request(k, "/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

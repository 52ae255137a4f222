package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/report"
)

// A gate stands in front of the real engine: it can be slow, and it can shut.
type gate struct {
	t      *testing.T
	path   string
	engine string

	mu     sync.Mutex
	delay  time.Duration
	listen net.Listener
	conns  map[net.Conn]bool
}

func newGate(t *testing.T) *gate {
	t.Helper()
	engine := "/var/run/docker.sock"
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		path, isUnix := strings.CutPrefix(host, "unix://")
		if !isUnix {
			t.Skipf("needs an engine on a Unix socket, got %s", host)
		}
		engine = path
	}
	dir, err := os.MkdirTemp("", "gate") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &gate{t: t, path: filepath.Join(dir, "s"), engine: engine, conns: map[net.Conn]bool{}}
	g.open()
	t.Cleanup(g.shut)
	return g
}

func (g *gate) host() string { return "DOCKER_HOST=unix://" + g.path }

func (g *gate) open() {
	l, err := net.Listen("unix", g.path)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.listen = l
	g.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.pass(c)
		}
	}()
}

// shut makes the engine go away: no new connections, and the old ones break.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.listen.Close() // shut twice is shut
	for c := range g.conns {
		_ = c.Close()
	}
}

func (g *gate) slow(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delay = d
}

func (g *gate) pass(c net.Conn) {
	defer c.Close()
	e, err := net.Dial("unix", g.engine)
	if err != nil {
		return
	}
	defer e.Close()
	g.mu.Lock()
	g.conns[c] = true
	g.mu.Unlock()
	go func() {
		_, _ = io.Copy(c, e) // either side may break it
		_ = c.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		g.mu.Lock()
		d := g.delay
		g.mu.Unlock()
		time.Sleep(d)
		if _, err := e.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestEngineGoesAwayInTheMiddle(t *testing.T) {
	l, g := newLab(t), newGate(t)
	p := l.startEnv([]string{g.host()}, l.script(l.web, `kill("`+l.victim.Name+`", duration = "1s")`))
	p.says(inPlace)
	g.shut()
	l.down()
	time.Sleep(2 * time.Second) // the undo has begun and finds no engine
	g.open()
	p.exits(0)
	l.back()
	l.gone()
}

func TestEngineStaysAway(t *testing.T) {
	l, g := newLab(t), newGate(t)
	p := l.startEnv([]string{g.host()}, "--undo", "3s", l.script(l.web, `kill("`+l.victim.Name+`", duration = "500ms")`))
	p.says(inPlace)
	g.shut()
	p.exits(6)
	l.down()
	if said := p.out.String(); !strings.Contains(said, "docker start "+l.victim.Name) || !strings.Contains(said, "runner recover") {
		t.Errorf("want the commands that mend it")
	}
	if r := l.result(); len(r.Stuck) != 1 {
		t.Errorf("got stuck %v, want one", r.Stuck)
	}
	l.once(0, "recover") // with the engine, again
	l.back()
}

func TestSlowEngine(t *testing.T) {
	l, g := newLab(t), newGate(t)
	g.slow(300 * time.Millisecond)
	p := l.startEnv([]string{g.host()}, l.script(l.web, `kill("`+l.victim.Name+`", duration = "1s")`))
	p.exits(0)
	l.back()
}

func TestTargetVanishes(t *testing.T) {
	l := newLab(t)
	p := l.start(l.script(l.web, `observe("2s")`, `kill("`+l.victim.Name+`")`, `observe("10s")`))
	p.says("method begins")
	l.victim.Remove()
	p.exits(5)
	if said := p.out.String(); !strings.Contains(said, "exp.star:11:") || !strings.Contains(said, l.victim.Name) {
		t.Errorf("want the error at the script's line, naming the container")
	}
	l.gone()
}

func TestRefusedByTheEngine(t *testing.T) {
	l := newLab(t)
	closed := enginetest.Run(t, enginetest.Options{Closed: true})
	try := func(victim, line, want string) {
		t.Helper()
		text, err := os.ReadFile(l.killAndWait())
		if err != nil {
			t.Fatal(err)
		}
		path := l.write("other.star", strings.ReplaceAll(string(text), l.victim.Name, victim))
		said := l.once(64, path)
		if !strings.Contains(said, line) || !strings.Contains(said, want) {
			t.Errorf("want an error at %s with %q:\n%s", line, want, said)
		}
	}
	try(l.victim.Name+"x", "other.star:3:", "means nothing")
	try(closed.Name, "other.star:10:", "--allow "+closed.Name)
	if _, err := os.Stat(filepath.Join(l.dir, "runs")); err == nil {
		t.Errorf("a refused run has left something behind")
	}
	if seen := closed.Inspect(); !enginetest.Up(seen) {
		t.Errorf("a container that had not opted in was touched")
	}
}

// TestBadMetrics: an endpoint that an abort condition rests on and that does
// not tell anything: no steady state, so nothing is injected.
func TestBadMetrics(t *testing.T) {
	endless := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/error":
			w.WriteHeader(http.StatusInternalServerError)
		case "/garbage":
			fmt.Fprint(w, "<html>\x00 not metrics at all")
		case "/huge":
			chunk := []byte(strings.Repeat("a_total 1\n", 100_000))
			for range 1100 { // a gigabyte
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		case "/never":
			select {
			case <-endless:
			case <-req.Context().Done():
			}
		case "/nan":
			fmt.Fprint(w, "up NaN\n")
		}
	}))
	t.Cleanup(func() { close(endless); server.Close() })
	for path, want := range map[string]string{"error": "500", "garbage": "", "huge": "bytes", "never": "no answer", "nan": "NaN"} {
		t.Run(path, func(t *testing.T) {
			l := newLab(t)
			script := l.write("exp.star", fmt.Sprintf(`
hypothesis("web answers")
blast_radius(targets = [%[1]q], duration = "90s")
steady_state(baseline = "500ms", within = "4s")
metrics(scrape = [%[2]q])
traffic("http://%[3]s:8080/metrics", arrivals = "20/s")
seen = slo("seen", "up", min = 1)
abort_if(seen, below = 1)

def method():
    kill(%[1]q, duration = "1s")
`, l.victim.Name, server.URL+"/"+path, l.web.Name))
			p := l.start(script)
			p.exits(64)
			if said := p.out.String(); !strings.Contains(said, "no steady state") || !strings.Contains(said, want) {
				t.Errorf("want no steady state, because of %q", want)
			}
			if r := l.result(); r.Ending != report.Refused || len(r.Faults) != 0 {
				t.Errorf("got %s with %v, want refused without a fault", r.Ending, r.Faults)
			}
			l.gone()
		})
	}
}

// TestPerCentOfWhat: a query in per cent, 97, that is held against a share, "99%",
// would hold for ever: it is an error, at once and with nothing injected.
func TestPerCentOfWhat(t *testing.T) {
	l := newLab(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "rate 97\n") }))
	t.Cleanup(server.Close)
	script := l.write("exp.star", fmt.Sprintf(`
hypothesis("web answers")
blast_radius(targets = [%[1]q], duration = "90s")
steady_state(baseline = "500ms", within = "10m")
metrics(scrape = [%[2]q])
traffic("http://%[3]s:8080/metrics", arrivals = "20/s")
seen = slo("seen", "rate", min = "99%%")
abort_if(seen)

def method():
    kill(%[1]q, duration = "1s")
`, l.victim.Name, server.URL, l.web.Name))
	p := l.start(script)
	p.exits(64)
	if said := p.out.String(); !strings.Contains(said, "slo seen") || !strings.Contains(said, "got 97, want a share from 0 to 1") {
		t.Error("want the objective and the value that is no share")
	}
	if r := l.result(); r.Ending != report.Refused || len(r.Faults) != 0 {
		t.Errorf("got %s with %v, want refused without a fault", r.Ending, r.Faults)
	}
}

// TestMetricsGoAway: a source that an abort condition rests on dies under the
// fault: the run is blind and aborts.
func TestMetricsGoAway(t *testing.T) {
	l := newLab(t)
	var down sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, is := down.Load("down"); is {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "up 1\n")
	}))
	t.Cleanup(server.Close)
	p := l.start(l.write("exp.star", fmt.Sprintf(`
hypothesis("web answers")
blast_radius(targets = [%[1]q], duration = "30s")
steady_state(baseline = "500ms", within = "10s")
metrics(scrape = [%[2]q])
traffic("http://%[3]s:8080/metrics", arrivals = "20/s")
seen = slo("seen", "up", min = 1, recovers_within = "1s")
abort_if(seen, below = 1)

def method():
    kill(%[1]q)
    observe("25s")
`, l.victim.Name, server.URL+"/metrics", l.web.Name)))
	p.says(inPlace)
	down.Store("down", true)
	p.exits(3)
	l.back()
	if r := l.result(); r.Verdict != report.Inconclusive || r.Abort == nil || !r.Abort.Blind {
		t.Errorf("got %s, %+v; want inconclusive for blindness", r.Verdict, r.Abort)
	}
}

// TestFullDisk: the evidence can no longer be written, so the run ends and
// everything is undone.
func TestFullDisk(t *testing.T) {
	l := newLab(t)
	out := filepath.Join(l.dir, "small")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", out, "tmpfs", 0, "size=256k"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a small disk: %v", err)
		}
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(out, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	script := l.killAndWait()
	p := l.start("--out", out, script)
	p.says(inPlace)
	ballast, err := os.Create(filepath.Join(out, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	_ = ballast.Close() // it could not be written whole
	p.exits(5)
	l.back()
	if said := p.out.String(); !strings.Contains(said, "no space left") {
		t.Errorf("want the reason")
	}
	if !strings.Contains(l.log(), "· exp · failed") {
		t.Errorf("the log is on another disk and must have its entry")
	}

	// Full from the start: refused before anything is touched.
	began := l.victim.Inspect().State.StartedAt
	if said := l.once(64, "--out", out, script); !strings.Contains(said, "no space left") {
		t.Errorf("want the reason:\n%s", said)
	}
	if now := l.victim.Inspect().State.StartedAt; now != began {
		t.Errorf("the victim was touched")
	}
}

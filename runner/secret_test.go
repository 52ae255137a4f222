package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// keepers are the values of the test's secrets: one with all that is written
// otherwise in URLs, in JSON and by Go.
var keepers = map[string]string{"pg_password": `h@qz/zq"ke%pZq: é\vqzret`, "token": "tok-0123456789abcdef"}

// leaks are the places where a value stands in a text, plainly or in parts that
// no quoting changes.
func leaks(raw []byte) (found []string) {
	for _, part := range []string{keepers["pg_password"], "qz/zq", "qz%2Fzq", "ke%pZq", "vqzret", keepers["token"]} {
		if bytes.Contains(raw, []byte(part)) {
			found = append(found, part)
		}
	}
	return found
}

// noLeak looks into every file below a folder.
func (l *lab) noLeak(dir string) (files int) {
	l.t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if found := leaks(raw); len(found) > 0 {
			l.t.Errorf("%s holds %q", path, found)
		}
		files++
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	return files
}

// memory is what a process can read of its own.
func memory(t *testing.T, pid int) []byte {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close() //nolint:errcheck // read only
	var all bytes.Buffer
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(mode, "rw") && to-from <= 256<<20 {
			_, _ = io.Copy(&all, io.NewSectionReader(mem, int64(from), int64(to-from))) // what goes meanwhile is gone
		}
	}
	return all.Bytes()
}

// echo is a server that answers with all that it was sent.
type echo struct {
	mu  sync.Mutex
	got map[string][]string // what it was sent, by path
}

func (e *echo) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body) // what has come of it
	e.mu.Lock()
	e.got[req.URL.Path] = append(e.got[req.URL.Path], req.Header.Get("Authorization")+"|"+string(body))
	e.mu.Unlock()
	w.Header().Set("X-Echo", req.Header.Get("Authorization"))
	_, _ = w.Write(body)
}

func (e *echo) last(path string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.got[path]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func (l *lab) secretScript(url string) string {
	return l.write("exp.star", fmt.Sprintf(`
password = secret("pg_password")
token = secret("token")
hypothesis("secrets stay where they belong, such as " + "this")
blast_radius(targets = [%[2]q], duration = "30s")
steady_state(baseline = "500ms", within = "15s")
prometheus("%[1]s", headers = {"Authorization": token})
load_ = traffic("%[1]s/load", arrivals = "20/s", method = "POST", headers = {"Authorization": "Bearer %%s" %% token}, body = {"password": password})
availability = slo("availability", load_.success, min = 0.9, recovers_within = "15s")
abort_if(availability, below = 0.5, lasting = "400ms")

def back():
    r = http("%[1]s/back", method = "POST", headers = {"Authorization": token}, body = "x" + password)
    note("back: %%s" %% r.body)

def method():
    rollback(back)
    r = http("%[1]s/ask", method = "POST", headers = {"Authorization": token}, body = {"p": ["%%s" %% password]})
    print(r.headers)
    print(r.body)
    note("again: " + r.json(like = {"p": [""]})["p"][0])
    http("%[1]s/twice", method = "POST", body = r.body)
    print(sql("postgres://shop:" + password + "@%[2]s:9/x", "SELECT 1").error)
    promql("up")
    pause(%[2]q, duration = "500ms")
    note("checkpoint")
    observe("4s")
    expect(False, "the server said " + r.body)
`, url, l.victim.Name))
}

func TestSecrets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to look into the worker's memory takes root")
	}
	l := newLab(t)
	server := &echo{got: map[string][]string{}}
	at := httptest.NewServer(server)
	defer at.Close()
	script := l.secretScript(at.URL)

	l.once(0, "check", script)
	out := l.once(64, script)
	if !strings.Contains(out, "exp.star:2:18: secret: pg_password: the environment has no RUNNER_SECRET_PG_PASSWORD") || !strings.Contains(out, "exp.star:3:15: secret: token: ") {
		t.Errorf("got %s", out)
	}
	if _, err := os.Stat(filepath.Join(l.dir, "runs")); err == nil {
		t.Error("a refused run has left a folder")
	}

	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(keepers["pg_password"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := l.startEnv([]string{"RUNNER_SECRET_TOKEN=" + keepers["token"]}, "-v", "--secret", "pg_password=@"+file, script)
	p.says("checkpoint")
	worker := l.pid("worker")
	for what, read := range map[string]func() []byte{
		"environment": func() []byte { raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", worker)); return raw },
		"memory":      func() []byte { return memory(t, worker) },
	} {
		raw := read()
		if found := leaks(raw); len(found) > 0 || len(raw) == 0 {
			t.Errorf("the worker's %s, of %d bytes, holds %q", what, len(raw), found)
		}
		if what == "memory" && !bytes.Contains(raw, []byte("((secret.pg_password))")) {
			t.Error("the worker's memory does not even hold the mark: the test has not read it")
		}
	}
	if n := l.noLeak(l.state()); n == 0 {
		t.Error("there is no ledger")
	}
	p.exits(1)
	l.gone()

	for path, want := range map[string]string{
		"/load":  "Bearer " + keepers["token"] + `|{"password":"h@qz/zq\"ke%pZq: é\\vqzret"}`,
		"/ask":   keepers["token"] + `|{"p":["h@qz/zq\"ke%pZq: é\\vqzret"]}`,
		"/back":  keepers["token"] + `|x` + keepers["pg_password"],
		"/twice": `|{"p":["((masked.pg_password))"]}`, // an answer is no way to have a secret sent on
	} {
		if got := server.last(path); got != want {
			t.Errorf("%s: the server got %q, want %q", path, got, want)
		}
	}
	if got := server.last("/api/v1/query"); !strings.HasPrefix(got, keepers["token"]+"|") {
		t.Errorf("the server of prometheus() got %q", got)
	}
	if n := l.noLeak(l.dir); n < 6 { // journal, result, metrics, requests, source, log
		t.Errorf("looked at %d files", n)
	}
	said := p.out.String()
	if found := leaks([]byte(said)); len(found) > 0 {
		t.Errorf("the terminal has %q", found)
	}
	for _, want := range []string{"again: ((masked.pg_password))", "back: x((masked.pg_password))", "the server said", "refused"} {
		if !strings.Contains(said, want) {
			t.Errorf("the runner has not said %q", want)
		}
	}
}

// The rollback of a dead run finds its secrets again where its command line
// said that they are: the ledger has the place, and not the value.
func TestSecretsOfADeadRun(t *testing.T) {
	l := newLab(t)
	server := &echo{got: map[string][]string{}}
	at := httptest.NewServer(server)
	defer at.Close()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(keepers["pg_password"]), 0o600); err != nil {
		t.Fatal(err)
	}
	token := []string{"RUNNER_SECRET_TOKEN=" + keepers["token"]}
	p := l.startEnv(token, "--secret", "pg_password=@"+file, l.secretScript(at.URL))
	p.says("checkpoint")
	l.signal("supervisor", syscall.SIGKILL)
	<-p.ended
	l.gone()
	if got := server.last("/back"); got != "" {
		t.Fatalf("the rollback has run already, with %q", got)
	}
	l.noLeak(l.state())
	p = l.startEnv(token, "recover")
	p.exits(0)
	if got, want := server.last("/back"), keepers["token"]+"|x"+keepers["pg_password"]; got != want {
		t.Errorf("the server got %q, want %q", got, want)
	}
	l.noLeak(l.dir)
	if found := leaks([]byte(p.out.String())); len(found) > 0 {
		t.Errorf("the terminal has %q", found)
	}
}

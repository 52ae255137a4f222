package fault

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct{ kind, params, want string }{
		{"kill", `{"stays_down":true}`, ""},
		{"kill", `{"signal":"term"}`, ""},
		{"kill", `{"stays_down":true,"signal":"SIGKILL"}`, ""},
		{"kill", `{"stays_down":true,"signal":"SIGTERM"}`, "want SIGKILL"},
		{"kill", `{"signal":"SIGSTOP"}`, "pause()"},
		{"kill", `{"signal":"SIGWINCH"}`, "want one of"},
		{"kill", `{"signal":"SIGKILL","target":{}}`, "unknown field"},
		{"kill", `{}{}`, "more than one"},
		{"kill", `[]`, "cannot unmarshal"},
		{"stop", `{"grace":1500000000}`, ""},
		{"stop", `{"grace":-1}`, "at most 5m0s"},
		{"stop", `{"grace":600000000000}`, "at most 5m0s"},
		{"restart", `{"grace":600000000000}`, "at most 5m0s"},
		{"pause", ``, ""},
		{"pause", `null`, ""},
		{"pause", `{"x":1}`, "unknown field"},
		{"fill_disk", `{"path":"/data","percent":1}`, ""},
		{"fill_disk", `{"path":"/data","percent":1.01}`, "at most 1"},
		{"fill_disk", `{"path":"/data","percent":1,"size":1}`, "want exactly one"},
		{"fill_disk", `{"path":"/data","size":-1}`, "below 0"},
		{"fill_disk", `{"path":"data","size":1}`, "absolute"},
		{"fill_disk", `{"path":"/data","size":1,"hold":"x"}`, "auto, kernel or file"},
		{"exhaust_inodes", `{"path":"/data","percent":1}`, ""},
		{"exhaust_inodes", `{"path":"/data"}`, "more than 0"},
		{"exhaust_inodes", `{"path":"data","percent":1}`, "absolute"},
		{"throttle_io", `{"path":"/data","read_bps":1}`, ""},
		{"throttle_io", `{"write_iops":1}`, ""},
		{"throttle_io", `{"path":"/data"}`, "want at least one"},
		{"throttle_io", `{"path":"/data","read_bps":-1}`, "above 0"},
		{"throttle_io", `{"path":"data","read_bps":1}`, "absolute"},
		{"explode", `{}`, "want one of exec, exhaust_inodes, fill_disk, "},
		{"exec", `{"argv":["true"],"undo":["true"],"timeout":1}`, ""},
		{"exec", `{"argv":[],"timeout":1}`, "got no program"},
		{"exec", `{"argv":["true"]}`, "timeout: got 0s"},
	} {
		f, err := New(c.kind, json.RawMessage(c.params))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s %s: %v", c.kind, c.params, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s %s: got %v, want %q", c.kind, c.params, err, c.want)
		case c.want == "" && f == nil:
			t.Errorf("%s %s: no fault", c.kind, c.params)
		}
	}
	f, err := New("kill", json.RawMessage(`{"signal":"term"}`))
	if err != nil || f.(*kill).Signal != "SIGTERM" {
		t.Errorf("got %+v, %v, want the signal's full name", f, err)
	}
}

// What an undo needs is all in the JSON.
func TestRoundTrip(t *testing.T) {
	s := subject{Target: Target{Name: "catalog", ID: "3f2a", StartedAt: "x", PID: 7}, Healthy: true, Restarts: 3, Patience: time.Second}
	for kind, f := range map[string]Fault{
		"kill":    &kill{Kill: Kill{StaysDown: true, Signal: "SIGKILL"}, subject: s, Policy: "always"},
		"stop":    &stop{Stop: Stop{Grace: time.Second}, subject: s, Own: 2 * time.Second},
		"pause":   &pause{subject: s},
		"restart": &restart{Restart: Restart{Grace: time.Second}, subject: s},
		"exec":    &exec{Exec: Exec{Argv: []string{"a", "b c"}, Remedy: []string{"d"}, Timeout: time.Second}, subject: s, Token: "t"},
	} {
		raw, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Load(kind, raw)
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(g)
		if err != nil || string(again) != string(raw) {
			t.Errorf("%s: got %s, want %s (%v)", kind, again, raw, err)
		}
		if w := g.Describe(); !strings.Contains(w.Harm, "catalog (3f2a)") || w.Remedy == "" || w.Held != HeldByEngine || g.Mend() == "" {
			t.Errorf("%s: got words %+v, %q", kind, w, g.Mend())
		}
	}
}

func TestGraceIsWholeSeconds(t *testing.T) {
	if o := graceOption(1500 * time.Millisecond); *o.Timeout != 2 {
		t.Errorf("got %d s, want 2", *o.Timeout)
	}
	if o := graceOption(0); o.Timeout != nil {
		t.Errorf("got %d s, want the container's own", *o.Timeout)
	}
}

// With a remote engine a process number means something else here.
func TestStrangersProcess(t *testing.T) {
	for _, pid := range []int{os.Getpid(), 0, -1} {
		p, err := openProcess(pid, strings.Repeat("3f", 32))
		if err == nil {
			p.close()
			t.Errorf("process %d passes for a container's", pid)
		}
	}
}

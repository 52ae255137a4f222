package supervise

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

const odd = `p@ss:w/o"r\d%41 é`

func oddSecrets(t *testing.T) *secrets {
	t.Helper()
	t.Setenv("ODD", odd)
	t.Setenv("WHOLE", "postgres://u:"+strings.Repeat("z", 9)+"@db:5432/shop")
	return readSecrets([]string{"odd", "whole", "none"}, map[string]string{"odd": "env:ODD", "whole": "env:WHOLE"})
}

func TestSecretIsFilledIn(t *testing.T) {
	s := oddSecrets(t)
	dsn, err := s.dsn("postgres://((secret.odd)):x((secret.odd))@db:5432/shop?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	u, err := notation.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := u.User.Password(); u.User.Username() != odd || password != "x"+odd || u.Host != "db:5432" || u.RawQuery != "sslmode=disable" {
		t.Errorf("got %q", dsn)
	}
	if dsn, err := s.dsn("((secret.whole))"); err != nil || dsn != os.Getenv("WHOLE") {
		t.Errorf("got %q, %v", dsn, err)
	}
	if body, err := s.body("a=((secret.odd))"); err != nil || body != "a="+odd {
		t.Errorf("got %q, %v", body, err)
	}
	for _, none := range []*secrets{s, nil} {
		for _, mark := range []string{"((secret.none))", "((secret.other))"} {
			if got, err := none.body("a" + mark); protocol.CodeOf(err) != protocol.CodeRefused {
				t.Errorf("%s: got %q, %v", mark, got, err)
			}
		}
	}
}

func TestSecretIsHidden(t *testing.T) {
	s := oddSecrets(t)
	for _, text := range append(writings(odd), "password "+strings.Repeat("z", 9)+" is wrong", os.Getenv("WHOLE")) {
		if got := s.text("<" + text + ">"); strings.Contains(got, "ss:w") || strings.Contains(got, "zzz") || !strings.Contains(got, "((masked.") {
			t.Errorf("%q: got %q", text, got)
		}
	}
	in := protocol.HTTPReply{Status: 200, Headers: map[string]string{odd: odd}, Body: odd + " ((secret.odd))", Error: "plain"}
	out := s.hide(in, s.answer).(protocol.HTTPReply)
	if out.Status != 200 || out.Error != "plain" || out.Headers["((masked.odd))"] != "((masked.odd))" || out.Body != "((masked.odd)) ((masked.odd))" {
		t.Errorf("got %+v", out)
	}
	err := s.err(protocol.Errorf(protocol.CodeRefused, "got %s", odd))
	if protocol.CodeOf(err) != protocol.CodeRefused || err.Error() != "got ((masked.odd))" {
		t.Errorf("got %v", err)
	}
	err = s.refusal(refuse("x.star:1:1", "got %s", odd))
	var refused *Refusal
	if !errors.As(err, &refused) || refused.Errors[0].Message != "got ((masked.odd))" || refused.Errors[0].Pos != "x.star:1:1" {
		t.Errorf("got %v", err)
	}
}

// A service may show a secret in its own metrics, and requests' errors may.
func TestSecretIsInNoSample(t *testing.T) {
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "up{dsn=\""+inJSON(odd)+"\"} 1\n")
	}))
	defer at.Close()
	r := &run{exp: spec.Experiment{Metrics: &spec.Metrics{Timeout: time.Second}}}
	r.secrets.Store(oddSecrets(t))
	_, body, err := r.fetch(t.Context(), at.URL+"/metrics")
	if err != nil || string(body) != "up{dsn=\"((masked.odd))\"} 1\n" {
		t.Errorf("got %q, %v", body, err)
	}
	var file strings.Builder
	line := "1,2,3,0,false," + odd + "\n"
	if n, err := (maskedWriter{&file, r.secrets.Load()}).Write([]byte(line)); n != len(line) || err != nil || file.String() != "1,2,3,0,false,((masked.odd))\n" {
		t.Errorf("got %q, %d, %v", file.String(), n, err)
	}
}

func TestSecretsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ value, want string }{
		"short":   {"12345", "got 5 bytes from"},
		"empty":   {"\n", "got 0 bytes from"},
		"long":    {strings.Repeat("x", maxSecret+1), "is too long"},
		"lines":   {"hunter\nhunter", "no text of one line"},
		"bytes":   {"\xff\xfe\xfd\xfc\xfb\xfa", "no text of one line"},
		"missing": {"", "no such file"},
	} {
		path := filepath.Join(dir, name)
		if name != "missing" {
			if err := os.WriteFile(path, []byte(c.value), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := readSecret("@" + path); err == nil || !strings.Contains(err.Error(), c.want) || len(c.value) > 1 && strings.Contains(err.Error(), c.value) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	path := filepath.Join(dir, "good")
	if err := os.WriteFile(path, []byte("hunter2\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readSecret("@" + path); err != nil || got != "hunter2" {
		t.Errorf("got %q, %v", got, err)
	}
}

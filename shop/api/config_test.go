package main

import (
	"strings"
	"testing"
)

func TestReadConfig(t *testing.T) {
	for _, c := range []struct {
		fallback string
		want     bool
		err      string
	}{
		{"", true, ""},
		{"on", true, ""},
		{"off", false, ""},
		{"true", false, `CATALOG_FALLBACK: got "true", want on or off`},
	} {
		env := map[string]string{"DATABASE_URL": "postgres://h/d", "CATALOG_FALLBACK": c.fallback}
		cfg, err := readConfig(func(name string) string { return env[name] })
		if got := errorText(err); got != c.err || cfg.catalogFallback != c.want {
			t.Errorf("%q: got %v, %q, want %v, %q", c.fallback, cfg.catalogFallback, got, c.want, c.err)
		}
	}
	if _, err := readConfig(func(string) string { return "" }); !strings.Contains(errorText(err), "DATABASE_URL") {
		t.Errorf("no database: got %v", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

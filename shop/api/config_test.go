package main

import (
	"strings"
	"testing"
)

func TestReadConfig(t *testing.T) {
	for _, name := range []string{"CATALOG_FALLBACK", "PAYMENTS_BUDGET", "ORDER_INTENT"} {
		for _, c := range []struct {
			value string
			want  bool
			err   string
		}{
			{"", true, ""},
			{"on", true, ""},
			{"off", false, ""},
			{"true", false, name + `: got "true", want on or off`},
		} {
			env := map[string]string{"DATABASE_URL": "postgres://h/d", name: c.value}
			cfg, err := readConfig(func(name string) string { return env[name] })
			got := map[string]bool{"CATALOG_FALLBACK": cfg.catalogFallback, "PAYMENTS_BUDGET": cfg.paymentsBudget, "ORDER_INTENT": cfg.orderIntent}
			if text := errorText(err); text != c.err || got[name] != c.want {
				t.Errorf("%s=%q: got %v, %q, want %v, %q", name, c.value, got[name], text, c.want, c.err)
			}
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

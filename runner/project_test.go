package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProjectOf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "_My.Shop")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := projectOf(dir, ""); got != "" {
		t.Errorf("without a Compose file: got %q, want none", got)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("docker-compose.yml", "services:\n  name: not-this\n")
	if got := projectOf(dir, ""); got != "myshop" {
		t.Errorf("after the folder: got %q, want myshop", got)
	}
	write("compose.yaml", "name: \"checkout\" # ours\nservices: {}\n")
	if got := projectOf(dir, ""); got != "checkout" {
		t.Errorf("by its name: got %q, want checkout", got)
	}
	if got := projectOf(dir, "other"); got != "other" {
		t.Errorf("by the environment: got %q, want other", got)
	}
}

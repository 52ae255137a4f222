package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHostileScripts puts every hostile script of the language's tests through
// the whole command: none may crash it, hang it, or be let pass.
func TestHostileScripts(t *testing.T) {
	dir, err := filepath.Abs("../builtins/testdata/hostile")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.star"))
	if err != nil || len(paths) < 50 {
		t.Fatalf("got %d scripts, %v", len(paths), err)
	}
	head := regexp.MustCompile(`(?m)^# (class|want): (.*)$`)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			about := map[string]string{}
			for _, m := range head.FindAllStringSubmatch(string(source), -1) {
				if _, known := about[m[1]]; !known {
					about[m[1]] = m[2]
				}
			}
			l := &lab{t: t, dir: t.TempDir()}
			p := l.start("check", "--think", "3s", "--root", filepath.Dir(dir), path)
			<-p.ended
			code, said := p.cmd.ProcessState.ExitCode(), p.out.String()
			want := map[string]string{"memory": "memory", "hang": "hangs"}[about["class"]]
			switch about["class"] {
			case "ok":
				if code != 0 {
					t.Errorf("got exit code %d, want 0", code)
				}
			case "error", "memory", "hang", "stack":
				if code != 64 || !strings.Contains(said, want) {
					t.Errorf("got exit code %d, want 64 and %q", code, want)
				}
			default:
				t.Fatalf("got class %q", about["class"])
			}
			if strings.Contains(said, "goroutine ") || strings.ContainsRune(said, '\x1b') {
				t.Errorf("want neither a Go stack nor a terminal escape in what people see")
			}
		})
	}
}

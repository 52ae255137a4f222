package builtins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chaosrunner/runner/protocol"
)

// hostileScript is a script of testdata/hostile with what stands at its head:
//
//	# class: error    refused with an error that holds want
//	#        ok       loads, runs and does no harm
//	#        memory   the worker runs out of memory, or is refused it
//	#        stack    the worker's stack overflows, or its memory
//	#        hang     the supervisor must end the worker
//	# want: a part of the error
//	# where: binary   only the whole binary sees it
type hostileScript struct{ name, source, class, want, where string }

func hostileScripts(t *testing.T) (all []hostileScript) {
	t.Helper()
	paths, err := filepath.Glob("testdata/hostile/*.star")
	if err != nil || len(paths) < 50 {
		t.Fatalf("got %d hostile scripts, %v", len(paths), err)
	}
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		h := hostileScript{name: filepath.Base(path), source: string(source)}
		for line := range strings.Lines(h.source) {
			key, value, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "# "), "\n"), ": ")
			if !strings.HasPrefix(line, "# ") || !ok {
				break
			}
			switch key {
			case "class":
				h.class = value
			case "want":
				h.want = value
			case "where":
				h.where = value
			}
		}
		all = append(all, h)
	}
	return all
}

// What can be tried without a cage is tried here; the rest runs through the
// real worker, in package runner/worker.
func TestHostileScripts(t *testing.T) {
	for _, h := range hostileScripts(t) {
		if h.class != "error" && h.class != "ok" || h.where == "binary" {
			continue
		}
		t.Run(h.name, func(t *testing.T) {
			w := &fakeWorld{main: "//hostile/" + h.name, files: map[string]string{}}
			for _, name := range []string{"hidden/spin.star", "hidden/declares.star"} {
				source, err := os.ReadFile("testdata/hostile/" + name)
				if err != nil {
					t.Fatal(err)
				}
				w.files["//hostile/"+name] = string(source)
			}
			s := open(t, w, h.source, protocol.Load{Steps: 5_000_000})
			_, errs := s.Load()
			var got strings.Builder
			for _, e := range errs {
				got.WriteString(e.Error() + "\n")
			}
			if strings.ContainsAny(strings.ReplaceAll(got.String(), "\n", ""), "\x1b\r\x00\u202e\u2028") || got.Len() > 10_000 {
				t.Errorf("the error is not harmless: %.300q", got.String())
			}
			if h.class == "error" {
				if h.want == "" || !strings.Contains(got.String(), h.want) {
					t.Errorf("got %s, want %q", got.String(), h.want)
				}
				return
			}
			if len(errs) > 0 {
				t.Fatal(got.String())
			}
			if ended := s.Method(); ended.Error != nil {
				t.Error(ended.Error)
			}
			if len(w.notes) > 2*maxNotes+2 {
				t.Errorf("got %d notes", len(w.notes))
			}
			for _, n := range w.notes {
				if len(n.Text) > maxNote+50 || strings.ContainsAny(n.Text, "\x1b\n\r\u2028") {
					t.Errorf("a note is not harmless: %.300q", n.Text)
				}
			}
		})
	}
}

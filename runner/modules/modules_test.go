package modules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tree makes files in a folder of its own; a name that ends in "/" is a folder,
// "@target" as content is a symbolic link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "@"); link {
			err = os.Symlink(target, path)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, script, root string, libs map[string]string) *Resolver {
	t.Helper()
	r, err := New(script, root, libs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve("", ""); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestThreeKindsOfPath(t *testing.T) {
	dir := tree(t, map[string]string{
		"lib.star": "lib", "experiments/exp1.star": "exp1", "experiments/part.star": "part", "experiments/deep/x.star": "x",
		"lib/tools/t.star": "tools", "lib/tools/u.star": "u", "elsewhere/v.star": "v", ".git/": "",
	})
	r := open(t, filepath.Join(dir, "experiments/exp1.star"), "", map[string]string{"other": filepath.Join(dir, "elsewhere")})
	if r.Name() != "exp1.star" || r.Root() != dir {
		t.Errorf("got %s in %s", r.Name(), r.Root())
	}
	exp := "//experiments/exp1.star"
	for _, c := range [][4]string{ // path, from, module, source
		{"", "", exp, "exp1"},
		{"//lib.star", exp, "//lib.star", "lib"},
		{"part.star", exp, "//experiments/part.star", "part"},
		{"./part.star", exp, "//experiments/part.star", "part"},
		{"deep/x.star", exp, "//experiments/deep/x.star", "x"},
		{"../part.star", "//experiments/deep/x.star", "//experiments/part.star", "part"},
		{"../lib.star", exp, "//lib.star", "lib"},
		{"//experiments/../lib.star", exp, "//lib.star", "lib"},
		{"@tools//t.star", exp, "@tools//t.star", "tools"},
		{"u.star", "@tools//t.star", "@tools//u.star", "u"},
		{"@other//v.star", exp, "@other//v.star", "v"},
		{"//lib.star", "@other//v.star", "//lib.star", "lib"},
	} {
		got, err := r.Resolve(c[0], c[1])
		if err != nil || got.Module != c[2] || got.Source != c[3] {
			t.Errorf("%s from %s: got %+v, %v", c[0], c[1], got, err)
		}
	}
	names := map[string]string{}
	for id := range r.Loaded() {
		f := r.modules[id]
		names[id] = f.Name
	}
	if names[exp] != "exp1.star" || names["//lib.star"] != "lib.star" || names["@tools//t.star"] != "@tools//t.star" || names["//experiments/part.star"] != "experiments/part.star" {
		t.Errorf("got names %v", names)
	}
}

func TestRootIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		root  string
	}{
		"lib.star":                {map[string]string{"lib.star": "", "a/.git/": "", "a/b/x.star": ""}, "."},
		"the nearest lib.star":    {map[string]string{"lib.star": "", "a/lib.star": "", "a/b/x.star": ""}, "a"},
		"git":                     {map[string]string{"a/.git/": "", "a/b/x.star": ""}, "a"},
		"the script's own, alone": {map[string]string{"a/b/x.star": ""}, "a/b"},
	} {
		dir := tree(t, c.files)
		if c.root == "a/b" && findRoot(filepath.Dir(dir)) != filepath.Dir(dir) {
			t.Skip("the folder of temporary files is below a lib.star or a .git")
		}
		r := open(t, filepath.Join(dir, "a/b/x.star"), "", nil)
		if want := filepath.Join(dir, c.root); r.Root() != want {
			t.Errorf("%s: got %s, want %s", name, r.Root(), want)
		}
	}
}

func TestRefused(t *testing.T) {
	outside := tree(t, map[string]string{"secret.star": "secret", "dir/x.star": "x"})
	dir := tree(t, map[string]string{
		"lib.star": "lib", "exp.star": "exp", "a/b.star": "b", "folder.star/": "", "lib/evil": "@" + outside, "lib/tools/t.star": "t",
		"out.star": "@" + outside + "/secret.star", "rel.star": "@../../../../../../../../etc/passwd", "outdir": "@" + outside + "/dir", "loop.star": "@loop.star",
		"null.star": "@/dev/null", "zero.star": "@/dev/zero", "big.star": strings.Repeat("# 45678\n", MaxSource/8+1), "full.star": strings.Repeat("# 45678\n", MaxSource/8),
		"bom.star": "\xef\xbb\xbfx = 1", "nul.star": "x = 1\ny\x00", "latin.star": "# caf\xe9", "late.star": "a\nb\n# \xff\n", "secrets.env": "KEY=1", "in.star": "@a/b.star", "bidi.star": "x\n# \u202eb",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo.star"), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := syscall.Mknod(filepath.Join(dir, "dev.star"), syscall.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil { // what /dev/zero is
			t.Logf("no device can be made here: %v", err)
		}
	}
	r := open(t, filepath.Join(dir, "exp.star"), "", nil)
	exp := "//exp.star"
	for path, want := range map[string]string{
		"//nothing.star":                 "there is no //nothing.star (the root is " + dir,
		"../../etc/passwd":               "leads out of //",
		"../../etc/passwd.star":          "leads out of //",
		"//../x.star":                    "leads out of //",
		"//a/../../x.star":               "leads out of //",
		"/etc/passwd":                    "got the absolute path",
		"///etc/passwd.star":             "leads out of //",
		"//":                             "leads out of //",
		"":                               `got ""`,
		"//a":                            "ends in .star",
		"//secrets.env":                  "ends in .star",
		"//out.star":                     "a link must not lead out of its root",
		"//rel.star":                     "a link must not lead out of its root",
		"//outdir/x.star":                "a link must not lead out of its root",
		"//loop.star":                    "cannot be read",
		"//null.star":                    "a link must not lead out of its root",
		"//zero.star":                    "a link must not lead out of its root",
		"//fifo.star":                    "//fifo.star is a FIFO, want a file",
		"//folder.star":                  "//folder.star is a folder, want a file",
		"//exp.star/x.star":              "cannot be read: not a directory",
		"//big.star":                     "//big.star has 1048584 bytes, want at most 1 MiB",
		"//bom.star":                     "//bom.star begins with a byte order mark: save it as UTF-8 without BOM",
		"//nul.star":                     "//nul.star has a NUL byte in line 2",
		"//latin.star":                   "//latin.star is no UTF-8: see line 1",
		"//bidi.star":                    "//bidi.star has the character U+202E in line 2",
		"//late.star":                    "//late.star is no UTF-8: see line 3",
		"@tools":                         `want "@name//x.star"`,
		"@nothing//x.star":               "there is no library @nothing: want --lib nothing=DIR, or the folder lib/nothing",
		"@evil//secret.star":             "there is no library @evil",
		"@../..//etc/passwd.star":        `got library "@../.."`,
		"@tools//../../exp.star":         "leads out of @tools//",
		"@//x.star":                      `got library "@"`,
		"//a\nb.star":                    "want a path such as",
		"a\\b.star":                      "want a path such as",
		"//\x00.star":                    "want a path such as",
		"//" + strings.Repeat("a/", 400): "want a path such as",
		"http://example.com/x.star":      "there is no //http:/example.com/x.star",
		"C:\\x.star":                     "want a path such as",
		"//dev.star":                     "//dev.star",
	} {
		got, err := r.Resolve(path, exp)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v, want %q", path, got.Module, err, want)
		}
	}
	for _, path := range []string{"//full.star", "//in.star", "@tools//t.star"} {
		if _, err := r.Resolve(path, exp); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := r.Resolve("x.star", "//never.star"); err == nil || !strings.Contains(err.Error(), "was never loaded") {
		t.Errorf("a module that was never loaded can load: %v", err)
	}
	if _, err := r.Resolve("x.star", ""); err == nil {
		t.Error("a relative path from nowhere is resolved")
	}
}

func TestNewRefuses(t *testing.T) {
	dir := tree(t, map[string]string{"a/x.star": "", "b/": "", "link": "@a"})
	for want, f := range map[string]func() (*Resolver, error){
		"want a file below the root": func() (*Resolver, error) { return New(filepath.Join(dir, "a/x.star"), filepath.Join(dir, "b"), nil) },
		"--lib: got name": func() (*Resolver, error) {
			return New(filepath.Join(dir, "a/x.star"), dir, map[string]string{"../a": dir})
		},
		"--root: ": func() (*Resolver, error) { return New(filepath.Join(dir, "x/x.star"), filepath.Join(dir, "x"), nil) },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	// A root that is called by another name is the same root.
	r := open(t, filepath.Join(dir, "a/x.star"), filepath.Join(dir, "link"), nil)
	if r.script != "x.star" {
		t.Errorf("got %s", r.script)
	}
}

// One file is one module, whatever it is called; what was read stays.
func TestOneFileIsOneModule(t *testing.T) {
	dir := tree(t, map[string]string{"lib.star": "lib", "exp.star": "exp", "sub/alias.star": "@../lib.star"})
	if err := os.Link(filepath.Join(dir, "lib.star"), filepath.Join(dir, "hard.star")); err != nil {
		t.Fatal(err)
	}
	r := open(t, filepath.Join(dir, "exp.star"), "", nil)
	for _, path := range []string{"//lib.star", "//sub/alias.star", "//hard.star", "lib.star"} {
		got, err := r.Resolve(path, "//exp.star")
		if err != nil || got.Module != "//lib.star" {
			t.Errorf("%s: got %+v, %v", path, got, err)
		}
	}
	for _, change := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, "lib.star"), []byte("changed"), 0o644) },
		func() error { return os.Remove(filepath.Join(dir, "lib.star")) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Resolve("//lib.star", "//exp.star"); err != nil || got.Source != "lib" {
			t.Errorf("got %+v, %v: what was rehearsed is not what runs", got, err)
		}
	}
	if got := r.Loaded(); len(got) != 2 || got["//lib.star"] != "lib" {
		t.Errorf("got %v", got)
	}
}

// While somebody swaps a file for a link out of the root, nothing from outside
// is read.
func TestSwappedForALink(t *testing.T) {
	outside := tree(t, map[string]string{"secret.star": "secret"})
	dir := tree(t, map[string]string{"exp.star": "exp", "good": "good"})
	target := filepath.Join(dir, "x.star")
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			next := target + ".next"
			var err error
			if i%2 == 0 {
				err = os.Symlink(filepath.Join(outside, "secret.star"), next)
			} else {
				err = os.Link(filepath.Join(dir, "good"), next)
			}
			if err = errors.Join(err, os.Rename(next, target)); err != nil {
				done <- err
				return
			}
			_ = os.Remove(next) // two links to one file: rename does nothing
		}
	}()
	read := 0
	for range 3000 {
		r := open(t, filepath.Join(dir, "exp.star"), dir, nil)
		got, err := r.Resolve("x.star", "//exp.star")
		if err == nil {
			read++
			if got.Source != "good" {
				t.Fatalf("got %q", got.Source)
			}
		}
		for _, root := range r.roots {
			_ = root.Close()
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("read %d times", read)
}

func TestManyAtOnce(t *testing.T) {
	files := map[string]string{"lib.star": "", "exp.star": ""}
	for i := range 20 {
		files[fmt.Sprintf("m%d.star", i)] = fmt.Sprint(i)
	}
	r := open(t, filepath.Join(tree(t, files), "exp.star"), "", nil)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 20 {
				got, err := r.Resolve(fmt.Sprintf("//m%d.star", (i+g)%20), "//exp.star")
				if err != nil || got.Source != fmt.Sprint((i+g)%20) {
					t.Errorf("got %+v, %v", got, err)
				}
			}
		})
	}
	all.Wait()
}

// No path whatever leads out of the root, or stops the resolver.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"//lib.star", "x.star", "../x.star", "@a//b.star", "////x.star", "@//", "//..", "a//../../b.star", "@lib//../../x.star"} {
		f.Add(s)
	}
	outside := f.TempDir()
	dir := filepath.Join(outside, "root")
	if err := os.MkdirAll(filepath.Join(dir, "lib", "a"), 0o755); err != nil {
		f.Fatal(err)
	}
	for path, content := range map[string]string{outside + "/x.star": "secret", dir + "/lib.star": "in", dir + "/x.star": "in", dir + "/lib/a/b.star": "in", outside + "/b.star": "secret"} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := New(filepath.Join(dir, "x.star"), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			for _, root := range r.roots {
				_ = root.Close()
			}
		}()
		if _, err := r.Resolve("", ""); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Resolve(path, "//x.star"); err == nil && got.Source != "in" {
			t.Errorf("%q: got %q", path, got.Source)
		}
	})
}

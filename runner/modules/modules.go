// Package modules reads the files of an experiment for its worker, which
// cannot.
//
//	load("//lib.star")     ──▶ <root>/lib.star
//	load("x.star")         ──▶ beside the file that loads it
//	load("@shop//x.star")  ──▶ --lib shop=DIR, else <root>/lib/shop
//
// Nothing outside of those roots is read, whatever ".." and symbolic links say;
// each file is opened once, looked at through its descriptor and read once, so
// that what was rehearsed is what runs and is what the run keeps.
package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"chaosrunner/runner/protocol"
)

// A Resolver finds the modules of one script. It may be used from several
// goroutines.
type Resolver struct {
	root   string            // absolute
	libs   map[string]string // --lib
	script string            // the script's path below root, with "/"

	mu      sync.Mutex
	modules map[string]*file    // by every name it was asked for
	roots   map[string]*os.Root // "" is the workspace's
}

type file struct {
	protocol.Sourced
	info fs.FileInfo
}

// New makes a resolver for a script. An empty root is found: the nearest folder
// above the script with lib.star, else with .git, else the script's own. libs
// are folders by name.
func New(script, root string, libs map[string]string) (*Resolver, error) {
	abs, err := filepath.Abs(script)
	if err != nil {
		return nil, fmt.Errorf("script: %w", err)
	}
	if root == "" {
		root = findRoot(filepath.Dir(abs))
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, fmt.Errorf("--root: %w", err)
	}
	for name := range libs {
		if !libName(name) {
			return nil, fmt.Errorf("--lib: got name %q, want letters, digits, - and _", name)
		}
	}
	below, err := within(root, abs)
	if err != nil {
		return nil, err
	}
	r := &Resolver{root: root, libs: libs, script: below, modules: map[string]*file{}, roots: map[string]*os.Root{}}
	if _, err := r.open("", root); err != nil {
		return nil, fmt.Errorf("--root: %w", err)
	}
	return r, nil
}

// findRoot looks for the folder that "//" stands for.
func findRoot(dir string) string {
	for _, mark := range []string{"lib.star", ".git"} {
		for at := dir; ; at = filepath.Dir(at) {
			if _, err := os.Stat(filepath.Join(at, mark)); err == nil {
				return at
			}
			if at == filepath.Dir(at) {
				break
			}
		}
	}
	return dir
}

// within is the script's path below root; where links hide that, the real
// paths decide.
func within(root, script string) (string, error) {
	below, err := filepath.Rel(root, script)
	if err != nil || !filepath.IsLocal(below) {
		realRoot, err1 := filepath.EvalSymlinks(root)
		realScript, err2 := filepath.EvalSymlinks(script)
		if err := errors.Join(err1, err2); err != nil {
			return "", fmt.Errorf("script: %w", err)
		}
		if below, err = filepath.Rel(realRoot, realScript); err != nil || !filepath.IsLocal(below) {
			return "", fmt.Errorf("script: got %s, want a file below the root %s: give its folder as --root", script, root)
		}
	}
	return filepath.ToSlash(below), nil
}

// Name is the script's name in positions: "exp1.star".
func (r *Resolver) Name() string { return path.Base(r.script) }

// Root is the folder that "//" stands for.
func (r *Resolver) Root() string { return r.root }

// Resolve finds what a load statement in the module from names. An empty path
// is the script itself.
func (r *Resolver) Resolve(name, from string) (protocol.Sourced, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	script := name == "" && from == ""
	id := "//" + r.script
	if !script {
		var err error
		if id, err = r.name(name, from); err != nil {
			return protocol.Sourced{}, err
		}
	}
	if known, ok := r.modules[id]; ok {
		return known.Sourced, nil
	}
	f, err := r.read(id)
	if err != nil {
		return protocol.Sourced{}, err
	}
	for _, known := range r.modules { // one file is one module, however it is called
		if os.SameFile(known.info, f.info) {
			r.modules[id] = known
			return known.Sourced, nil
		}
	}
	f.Module, f.Name = id, strings.TrimPrefix(id, "//")
	if script {
		f.Name = r.Name()
	}
	r.modules[id] = f
	return f.Sourced, nil
}

// name is the module that a worker asks for. A worker runs the script, and is
// not believed.
func (r *Resolver) name(name, from string) (string, error) {
	if _, known := r.modules[from]; !known && from != "" {
		return "", fmt.Errorf("got a load by %q, which was never loaded", from)
	}
	if len(name) > 500 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }) {
		return "", fmt.Errorf("got %.100q, want a path such as \"//lib.star\"", name)
	}
	id, err := protocol.ModuleName(name, from)
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(id, ".star") {
		return "", fmt.Errorf("got %q, want a file whose name ends in .star", name)
	}
	return id, nil
}

// Loaded are the sources that were read, by module.
func (r *Resolver) Loaded() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]string{}
	for _, f := range r.modules {
		all[f.Module] = f.Source
	}
	return all
}

// open opens a root once.
func (r *Resolver) open(name, dir string) (*os.Root, error) {
	if root, ok := r.roots[name]; ok {
		return root, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	r.roots[name] = root
	return root, nil
}

// place is the root and the path in it that a module's name stands for.
func (r *Resolver) place(id string) (*os.Root, string, error) {
	lib, below, _ := strings.Cut(id, "//")
	if lib == "" {
		return r.roots[""], below, nil
	}
	name := strings.TrimPrefix(lib, "@")
	if !libName(name) {
		return nil, "", fmt.Errorf("got library %q, want letters, digits, - and _", lib)
	}
	if dir, ok := r.libs[name]; ok {
		root, err := r.open(lib, dir)
		if err != nil {
			return nil, "", fmt.Errorf("--lib %s: %w", name, err)
		}
		return root, below, nil
	}
	root, err := r.roots[""].OpenRoot("lib/" + name)
	if err != nil {
		known := make([]string, 0, len(r.libs))
		for n := range r.libs {
			known = append(known, "@"+n)
		}
		slices.Sort(known)
		return nil, "", fmt.Errorf("there is no library %s: want --lib %s=DIR, or the folder lib/%s in %s%s", lib, name, name, r.root, alsoKnown(known))
	}
	r.roots[lib] = root
	return root, below, nil
}

func alsoKnown(known []string) string {
	if len(known) == 0 {
		return ""
	}
	return " (there is " + strings.Join(known, ", ") + ")"
}

func libName(s string) bool {
	return s != "" && len(s) <= 100 && s[0] != '-' && strings.Trim(s, "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

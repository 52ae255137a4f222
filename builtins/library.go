package builtins

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

// What a script may load. A file's own bound stands with who reads files.
const (
	maxModules = 200
	maxSources = 8 << 20 // bytes of all files together: a rollback ships them
	maxNested  = 50
)

// A library holds the script's files, each run once. They run on the thread of
// the file that loads them, and so within its budget.
//
//	exp1.star ──load("//lib.star")──▶ World.Source ──▶ compile ──▶ run ──▶ globals, frozen
type library struct {
	modules map[string]*module // by the identity the supervisor gave
	aliases map[string]string  // path and loader → identity
	names   map[string]*module // by the name in positions
	bytes   int
	open    []*module // being run, outermost first
	main    *module
}

// A module is one file.
type module struct {
	id, name, source string
	paths            map[string]string // what it loads → identity
	file             *syntax.File
	globals          starlark.StringDict
	branches         *branches
	done             bool
	err              error
}

func newLibrary() *library {
	return &library{modules: map[string]*module{}, aliases: map[string]string{}, names: map[string]*module{}}
}

// loadedFrom names the file whose top level is running, if that is not the
// script itself.
func (l *library) loadedFrom() string {
	if len(l.open) > 1 {
		return l.open[len(l.open)-1].name
	}
	return ""
}

// loadMain runs the script itself.
func (s *Session) loadMain(thread *starlark.Thread) error {
	m, err := s.fetch(thread, "")
	if err != nil {
		return err
	}
	s.library.main = m
	return s.run(thread, m)
}

// load is what a load statement calls.
func (s *Session) load(thread *starlark.Thread, path string) (starlark.StringDict, error) {
	m, err := s.fetch(thread, path)
	if err != nil {
		return nil, err
	}
	if err := s.run(thread, m); err != nil {
		return nil, err
	}
	return m.globals, nil
}

// fetch asks for a file's source, unless it is here.
func (s *Session) fetch(thread *starlark.Thread, path string) (*module, error) {
	l := s.library
	from := ""
	var loader *module
	if len(l.open) > 0 {
		loader = l.open[len(l.open)-1]
		from = loader.id
	}
	if id, known := l.aliases[from+"\x00"+path]; known {
		return l.modules[id], nil
	}
	if len(l.modules) >= maxModules {
		return nil, fmt.Errorf("got more than %d files", maxModules)
	}
	got, err := s.world.Source(s.ctx, protocol.Source{Path: path, From: from})
	if err != nil {
		return nil, errors.New(notation.Clean(err.Error(), maxMessage))
	}
	m, known := l.modules[got.Module]
	if !known {
		if l.bytes += len(got.Source); l.bytes > maxSources {
			return nil, fmt.Errorf("got more than %d MiB of source in all", maxSources>>20)
		}
		m = &module{id: got.Module, name: l.unique(got), source: got.Source, paths: map[string]string{}}
		l.modules[m.id], l.names[m.name] = m, m
	}
	l.aliases[from+"\x00"+path] = m.id
	if loader != nil {
		loader.paths[path] = m.id
	}
	return m, nil
}

// unique makes a name that no other file has, so that a position is in one
// file only.
func (l *library) unique(got protocol.Sourced) string {
	name := notation.Clean(got.Name, 200)
	if _, taken := l.names[name]; taken || name == "" {
		name = notation.Clean(got.Module, 400)
	}
	return name
}

// run compiles a file and runs its top level, once.
func (s *Session) run(thread *starlark.Thread, m *module) error {
	if m.done {
		return m.err
	}
	l := s.library
	for i, o := range l.open {
		if o == m {
			return fmt.Errorf("the files load each other in a circle: %s", circle(l.open[i:]))
		}
	}
	if len(l.open) >= maxNested {
		return fmt.Errorf("got files that load each other more than %d deep", maxNested)
	}
	l.open = append(l.open, m)
	defer func() { l.open = l.open[:len(l.open)-1] }()
	m.err = s.execute(thread, m)
	m.done = true
	return m.err
}

func (s *Session) execute(thread *starlark.Thread, m *module) error {
	file, program, err := compile(m.name, m.source, s.predeclared)
	if err != nil {
		return err
	}
	m.file = file
	globals, err := program.Init(thread, s.predeclared)
	globals.Freeze()
	m.globals = globals
	return err
}

func circle(open []*module) string {
	names := make([]string, 0, len(open)+1)
	for _, m := range open {
		names = append(names, m.name)
	}
	return strings.Join(append(names, open[0].name), " → ")
}

// sources are all files by identity, for a worker that has nothing else; and,
// where a link of the file system gave a file a second name, by that too.
func (l *library) sources() map[string]string {
	all := map[string]string{}
	for id, m := range l.modules {
		all[id] = m.source
		for path, loaded := range m.paths {
			if name, err := protocol.ModuleName(path, id); err == nil && name != loaded {
				all[name] = l.modules[loaded].source
			}
		}
	}
	return all
}

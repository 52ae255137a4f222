package model

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// runner is the folder of the real code, seen from here.
const runner = "../.."

// outside has the failpoints that lie between no two steps of the model.
var outside = map[string]string{
	"run-observe":  "time passes, and nothing else",
	"run-undo-one": "the supervisor's own clock for one fault; the model has the agent's",
	"run-result":   "evidence",
	"run-log":      "evidence",
	"run-settled":  "evidence",
}

// The model's steps end and begin where the real code can be met: each failpoint
// is passed by a step, and each that a step passes is in the code.
func TestFailpoints(t *testing.T) {
	inModel := map[string]bool{}
	for _, sc := range scenarios {
		for _, p := range (&model{scenario: sc}).steps() {
			for _, h := range p.hits {
				inModel[h] = true
			}
		}
	}
	inCode := failpoints(t)
	for h := range inCode {
		if !inModel[h] && outside[h] == "" {
			t.Errorf("failpoint %s of the code is in no step of the model", h)
		}
	}
	for _, h := range slices.Concat(slices.Collect(maps.Keys(inModel)), slices.Collect(maps.Keys(outside))) {
		if !inCode[h] {
			t.Errorf("failpoint %s of the model is not in the code", h)
		}
	}
	if len(inCode) < 30 {
		t.Errorf("got %d failpoints in the code: they are not read right", len(inCode))
	}
}

var (
	hit     = regexp.MustCompile(`failpoint\.Hit\("([a-z-]+)"\)`)
	spelled = regexp.MustCompile(`failpoint\.Hit\("(before-fsync-)" \+ r\.What\)`)
	fsynced = regexp.MustCompile(`l\.durable\(record\{What: (\w+)`)
)

func failpoints(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for path, text := range sources(t, runner) {
		for _, m := range hit.FindAllStringSubmatch(text, -1) {
			all[m[1]] = true
		}
		calls := len(regexp.MustCompile(`failpoint\.Hit\(`).FindAllString(text, -1))
		if known := len(hit.FindAllString(text, -1)) + len(spelled.FindAllString(text, -1)); known != calls {
			t.Errorf("%s: %d failpoints, of which %d can be read", path, calls, known)
		}
		for _, m := range fsynced.FindAllStringSubmatch(text, -1) { // each passes the one in durable
			all["before-fsync-"+m[1]] = true
		}
	}
	return all
}

// sources has the Go files of a folder and those below, without tests.
func sources(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		all[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Where a guard is said to be, there is a function of that name.
func TestWhereGuardsAre(t *testing.T) {
	for _, g := range guards {
		dir, name, _ := strings.Cut(g.where, " ")
		if !slices.Contains(functions(t, filepath.Join(runner, dir)), name) {
			t.Errorf("%s: there is no %s in runner/%s", g.name, name, dir)
		}
	}
}

func functions(t *testing.T, dir string) (all []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				of := f.Recv.List[0].Type
				if p, ok := of.(*ast.StarExpr); ok {
					of = p.X
				}
				if id, ok := of.(*ast.Ident); ok {
					name = id.Name + "." + name
				}
			}
			all = append(all, name)
		}
	}
	return all
}

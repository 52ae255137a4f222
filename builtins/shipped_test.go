package builtins

import (
	"context"
	"path/filepath"
	"testing"

	"chaosrunner/runner/modules"
	"chaosrunner/runner/protocol"
)

// diskWorld reads real files.
type diskWorld struct {
	fakeWorld
	*modules.Resolver
}

func (w *diskWorld) Source(_ context.Context, in protocol.Source) (protocol.Sourced, error) {
	return w.Resolve(in.Path, in.From)
}

// The experiments that come with the runner load and rehearse.
func TestShippedExperiments(t *testing.T) {
	paths, err := filepath.Glob("../experiments/*.star")
	if err != nil || len(paths) == 0 {
		t.Fatalf("got %q, %v", paths, err)
	}
	for _, path := range paths {
		r, err := modules.New(path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		s := New(t.Context(), Config{Load: protocol.Load{Script: r.Name(), Mode: protocol.CheckOnly}}, &diskWorld{Resolver: r})
		exp, errs := s.Load()
		for _, e := range errs {
			t.Errorf("%s: %v", path, e)
		}
		if len(errs) == 0 && exp.Hypothesis == "" {
			t.Errorf("%s: got %+v", path, exp)
		}
	}
}

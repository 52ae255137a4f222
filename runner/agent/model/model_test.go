package model

import (
	"slices"
	"testing"
)

// Whatever is struck, at whatever step: the promises hold.
func TestPromises(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			f := (&model{scenario: sc}).explore()
			if f.broken != "" {
				t.Fatal(f)
			}
			t.Logf("%d states", f.states)
		})
	}
}

// No guard can be left out: else the model would be blind there, or the code
// would have one too many.
func TestGuards(t *testing.T) {
	for _, g := range guards {
		t.Run(g.name, func(t *testing.T) {
			if len(g.spare) > 0 { // else it is TestPromises' to explore
				if f := without(g.in, g.spare...); f.broken != "" {
					t.Fatalf("without %q alone: %v", g.spare, f)
				}
			}
			f := without(g.in, append(slices.Clone(g.spare), g.name)...)
			if f.broken == "" {
				t.Fatalf("without it nothing breaks in %d states", f.states)
			}
			t.Log(f)
		})
	}
}

func without(sc scenario, guards ...string) finding {
	m := &model{scenario: sc, off: map[string]bool{}}
	for _, g := range guards {
		m.off[g] = true
	}
	return m.explore()
}

package model

import (
	"fmt"
	"strings"
)

// A finding is a way to a state that breaks a promise, or what was explored if
// there is none.
type finding struct {
	broken string
	trace  []string
	states int
}

func (f finding) String() string {
	return fmt.Sprintf("%s, after\n\t%s", f.broken, strings.Join(f.trace, "\n\t"))
}

// explore visits every state that can be reached, nearest first.
func (m *model) explore() finding {
	steps := m.steps()
	type origin struct {
		from uint32
		by   uint16
	}
	states := []state{m.start()}
	origins := []origin{{}}
	known := map[state]uint32{states[0]: 0}
	var edges [][2]uint32 // of the protocol alone
	found := func(at uint32, why string) finding {
		f := finding{broken: why, states: len(states)}
		for ; at != 0; at = origins[at].from {
			f.trace = append([]string{steps[origins[at].by].String()}, f.trace...)
		}
		return f
	}
	for at := uint32(0); int(at) < len(states); at++ {
		s, quiet := states[at], true
		for by := range steps {
			if p := &steps[by]; p.can(&s) {
				next := s
				p.do(&next)
				to, seen := known[next]
				if !seen {
					to = uint32(len(states))
					known[next] = to
					states, origins = append(states, next), append(origins, origin{at, uint16(by)})
				}
				if !p.foe {
					quiet = false
					edges = append(edges, [2]uint32{at, to})
				}
			}
		}
		if why := m.broken(&s, quiet); why != "" {
			return found(at, why)
		}
	}
	if at, ok := circle(len(states), edges); ok {
		return found(at, "left alone, the processes go round in a circle")
	}
	return finding{states: len(states)}
}

// circle finds a node from which the edges lead back to itself, or to such a one.
func circle(nodes int, edges [][2]uint32) (uint32, bool) {
	left := make([]uint32, nodes) // ways out of each
	for _, e := range edges {
		left[e[0]]++
	}
	first := make([]uint32, nodes+1) // edges by their end
	for _, e := range edges {
		first[e[1]+1]++
	}
	for i := range nodes {
		first[i+1] += first[i]
	}
	into, fill := make([]uint32, len(edges)), append([]uint32(nil), first...)
	for _, e := range edges {
		into[fill[e[1]]] = e[0]
		fill[e[1]]++
	}
	var done []uint32
	for i := range left {
		if left[i] == 0 {
			done = append(done, uint32(i))
		}
	}
	for n := 0; n < len(done); n++ {
		at := done[n]
		for _, from := range into[first[at]:first[at+1]] {
			if left[from]--; left[from] == 0 {
				done = append(done, from)
			}
		}
	}
	for i := range left {
		if left[i] > 0 {
			return uint32(i), true
		}
	}
	return 0, false
}

package builtins

import (
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"chaosrunner/builtins/spec"
)

// A rehearsal takes one path through method(). Where the path hangs on what a
// probe will see, the plan must say so. The stand-ins of a probe are plain
// numbers and strings, since nothing else behaves like them everywhere; so what
// hangs on them is read from the syntax tree, by the flow of names:
//
//	r = http(url)              r is seen
//	ok = r.status == 200       ok is seen
//	if ok: kill("catalog")     the call hangs on the condition in this line
//
// It errs towards saying that a step hangs on a probe.
type branches struct {
	regions []region
}

// A region is a stretch of a file that is done, or not, or several times, as a
// condition says.
type region struct {
	condition  syntax.Position
	start, end syntax.Position
}

// add notes that from start to the end of n, what is done hangs on a condition.
func (b *branches) add(condition, start syntax.Position, n syntax.Node) {
	b.regions = append(b.regions, region{condition, start, syntax.End(n)})
}

// rest adds what follows a condition in its function.
func (b *branches) rest(in scope) {
	if in.def != nil {
		b.regions = append(b.regions, region{in.condition, in.condition, syntax.End(in.def)})
	}
}

// branchAt is the condition that the innermost call hangs on; "" if none.
func (l *library) branchAt(stack starlark.CallStack) spec.Pos {
	for i := range stack {
		frame := stack.At(i)
		m := l.names[frame.Pos.Filename()]
		if m == nil || m.branches == nil {
			continue
		}
		for _, r := range m.branches.regions {
			if !before(frame.Pos, r.start) && !before(r.end, frame.Pos) {
				return spec.Pos(r.condition.String())
			}
		}
	}
	return ""
}

func before(a, b syntax.Position) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
}

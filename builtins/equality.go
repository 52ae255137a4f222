package builtins

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// In Starlark, values of different types are simply unequal: `availability ==
// 0.9` would be False, always, and without a word. The interpreter offers no
// way to say otherwise, so each == and != is compiled as a call of one of
// these two, under names that no script can write.
const (
	equalName   = "=="
	unequalName = "!="
)

// A numberless value is one that is often mistaken for the number in it.
type numberless interface {
	starlark.Value
	instead() string // what to compare
}

func equality(op syntax.Token) *starlark.Builtin {
	return starlark.NewBuiltin(op.String(), func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		x, y := args[0], args[1]
		for _, pair := range [][2]starlark.Value{{x, y}, {y, x}} {
			v, ok := pair[0].(numberless)
			if other := pair[1]; ok && other != starlark.None && other.Type() != v.Type() {
				return nil, hint(fmt.Errorf("%s %s %s: never equal", x.Type(), op, y.Type()), "%s", v.instead())
			}
		}
		same, err := starlark.Compare(op, x, y)
		return starlark.Bool(same), err
	})
}

// rewriteEquality replaces each == and != by a call at the same place.
func rewriteEquality(file *syntax.File) { (rewriter{equal}).stmts(file.Stmts) }

func equal(e syntax.Expr) syntax.Expr {
	b, ok := e.(*syntax.BinaryExpr)
	if !ok || b.Op != syntax.EQL && b.Op != syntax.NEQ {
		return e
	}
	return &syntax.CallExpr{
		Fn: &syntax.Ident{NamePos: b.OpPos, Name: b.Op.String()}, Lparen: b.OpPos,
		Args: []syntax.Expr{b.X, b.Y}, Rparen: syntax.End(b.Y),
	}
}

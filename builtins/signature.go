package builtins

import (
	"fmt"
	"math/big"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A signature is what a row of Table says about its parameters, parsed. It is
// the only place where names, order and defaults stand, so that the reference
// cannot differ from what is unpacked.
type signature struct {
	params   []param
	variadic string // "args" of a trailing *args; "" for none
}

type param struct {
	name     string
	required bool
	keyword  bool           // by name only
	fallback starlark.Value // nil: the pointer is left as it is
}

var signatures sync.Map // of *signature by text: parsed once a process

// parseSignature reads `kill(target, *, duration = None)`. A signature that
// cannot be read is a mistake in Table, which a test finds.
func parseSignature(text string) *signature {
	if known, ok := signatures.Load(text); ok {
		return known.(*signature)
	}
	f, err := new(syntax.FileOptions).Parse("signature", "def "+text+": pass", 0)
	if err != nil {
		panic(fmt.Sprintf("builtins: signature %s: %v", text, err))
	}
	sig := new(signature)
	keyword := false
	for _, p := range f.Stmts[0].(*syntax.DefStmt).Params {
		switch p := p.(type) {
		case *syntax.Ident:
			sig.params = append(sig.params, param{name: p.Name, required: true, keyword: keyword})
		case *syntax.BinaryExpr:
			sig.params = append(sig.params, param{name: p.X.(*syntax.Ident).Name, keyword: keyword, fallback: literal(p.Y)})
		case *syntax.UnaryExpr:
			keyword = true
			if p.X != nil {
				sig.variadic = p.X.(*syntax.Ident).Name
			}
		}
	}
	signatures.Store(text, sig)
	return sig
}

// literal is a default's value; nil for None, which means absent.
func literal(e syntax.Expr) starlark.Value {
	switch e := e.(type) {
	case *syntax.Literal:
		switch v := e.Value.(type) {
		case string:
			return starlark.String(v)
		case int64:
			return starlark.MakeInt64(v)
		case *big.Int:
			return starlark.MakeBigInt(v)
		case float64:
			return starlark.Float(v)
		}
	case *syntax.Ident:
		switch e.Name {
		case "None":
			return nil
		case "True", "False":
			return starlark.Bool(e.Name == "True")
		}
	}
	panic(fmt.Sprintf("builtins: a default is a literal, not a %T", e))
}

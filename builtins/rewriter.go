package builtins

import "go.starlark.net/syntax"

// A rewriter replaces expressions of a syntax tree, innermost first.
type rewriter struct {
	replace func(syntax.Expr) syntax.Expr
}

func (r rewriter) stmts(all []syntax.Stmt) {
	for _, stmt := range all {
		switch x := stmt.(type) {
		case *syntax.AssignStmt:
			r.in(&x.LHS, &x.RHS)
		case *syntax.DefStmt:
			r.params(x.Params)
			r.stmts(x.Body)
		case *syntax.ExprStmt:
			r.in(&x.X)
		case *syntax.ForStmt:
			r.in(&x.Vars, &x.X)
			r.stmts(x.Body)
		case *syntax.IfStmt:
			r.in(&x.Cond)
			r.stmts(x.True)
			r.stmts(x.False)
		case *syntax.ReturnStmt:
			r.in(&x.Result)
		case *syntax.WhileStmt:
			r.in(&x.Cond)
			r.stmts(x.Body)
		}
	}
}

// params rewrites the defaults; the names stay.
func (r rewriter) params(all []syntax.Expr) {
	for _, p := range all {
		if b, ok := p.(*syntax.BinaryExpr); ok {
			r.in(&b.Y)
		}
	}
}

func (r rewriter) list(all []syntax.Expr) {
	for i := range all {
		r.in(&all[i])
	}
}

func (r rewriter) in(places ...*syntax.Expr) {
	for _, p := range places {
		if *p != nil {
			r.children(*p)
			*p = r.replace(*p)
		}
	}
}

func (r rewriter) children(e syntax.Expr) {
	switch x := e.(type) {
	case *syntax.BinaryExpr:
		if x.Op == syntax.EQ { // a named argument: f(x = 1)
			r.in(&x.Y)
			return
		}
		r.in(&x.X, &x.Y)
	case *syntax.CallExpr:
		r.in(&x.Fn)
		r.list(x.Args)
	case *syntax.Comprehension:
		r.in(&x.Body)
		for _, c := range x.Clauses {
			switch c := c.(type) {
			case *syntax.ForClause:
				r.in(&c.Vars, &c.X)
			case *syntax.IfClause:
				r.in(&c.Cond)
			}
		}
	case *syntax.CondExpr:
		r.in(&x.Cond, &x.True, &x.False)
	case *syntax.DictEntry:
		r.in(&x.Key, &x.Value)
	case *syntax.DictExpr:
		r.list(x.List)
	case *syntax.DotExpr:
		r.in(&x.X)
	case *syntax.IndexExpr:
		r.in(&x.X, &x.Y)
	case *syntax.LambdaExpr:
		r.params(x.Params)
		r.in(&x.Body)
	case *syntax.ListExpr:
		r.list(x.List)
	case *syntax.ParenExpr:
		r.in(&x.X)
	case *syntax.SliceExpr:
		r.in(&x.X, &x.Lo, &x.Hi, &x.Step)
	case *syntax.TupleExpr:
		r.list(x.List)
	case *syntax.UnaryExpr:
		r.in(&x.X)
	}
}

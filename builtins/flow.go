package builtins

import (
	"slices"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"
)

const maxRounds = 10 // of following the flow; longer chains of names are taken for seen

// flow follows what probes return through names, in all files at once.
type flow struct {
	lib    *library
	seen   map[*syntax.Ident]bool // by the name's first use, which all its uses share
	params map[*syntax.Ident][]*syntax.Ident
	same   map[*syntax.Ident]*syntax.Ident // a loaded name → the name in its own file
	grew   bool
	all    bool // gave up: whatever could be seen is
}

func (l *library) follow() {
	f := &flow{lib: l, seen: map[*syntax.Ident]bool{}, params: map[*syntax.Ident][]*syntax.Ident{}, same: map[*syntax.Ident]*syntax.Ident{}}
	for _, m := range l.modules {
		if m.file != nil {
			f.names(m)
		}
	}
	for round := 0; ; round++ {
		f.grew = false
		f.all = round == maxRounds
		for _, m := range l.modules {
			if m.file != nil {
				m.branches = new(branches)
				f.block(m.branches, m.file.Stmts, scope{})
			}
		}
		if !f.grew || f.all {
			return
		}
	}
}

// names notes the parameters of functions, and what loaded names stand for.
func (f *flow) names(m *module) {
	syntax.Walk(m.file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			f.params[first(n.Name)] = parameters(n.Params)
		case *syntax.LoadStmt:
			from := f.lib.modules[m.paths[n.ModuleName()]]
			if from == nil || from.file == nil {
				break
			}
			for i, id := range n.From {
				for _, global := range from.file.Module.(*resolve.Module).Globals {
					if global.First.Name == id.Name {
						f.same[first(n.To[i])] = global.First
					}
				}
			}
		}
		return true
	})
}

func parameters(list []syntax.Expr) (ids []*syntax.Ident) {
	for _, p := range list {
		switch p := p.(type) {
		case *syntax.Ident:
			ids = append(ids, first(p))
		case *syntax.BinaryExpr:
			ids = append(ids, first(p.X.(*syntax.Ident)))
		case *syntax.UnaryExpr:
			if id, ok := p.X.(*syntax.Ident); ok {
				ids = append(ids, first(id))
			}
		}
	}
	return ids
}

// first is the use of a name that stands for all of them.
func first(id *syntax.Ident) *syntax.Ident {
	if b, ok := id.Binding.(*resolve.Binding); ok && b.First != nil {
		return b.First
	}
	return id
}

func (f *flow) mark(id *syntax.Ident) {
	id = first(id)
	if other, loaded := f.same[id]; loaded {
		id = other
	}
	if !f.seen[id] {
		f.seen[id], f.grew = true, true
	}
}

// sees says whether an expression's value hangs on what a probe saw.
func (f *flow) sees(e syntax.Expr) (yes bool) {
	if e == nil {
		return false
	}
	syntax.Walk(e, func(n syntax.Node) bool {
		id, ok := n.(*syntax.Ident)
		if !ok || yes {
			return !yes
		}
		b, bound := id.Binding.(*resolve.Binding)
		switch {
		case !bound: // the name of an attribute or of a parameter
		case b.Scope == resolve.Predeclared:
			yes = probes[id.Name]
		case b.First != nil:
			key := b.First
			if other, loaded := f.same[key]; loaded {
				key = other
			}
			yes = f.seen[key] || f.all && b.Scope != resolve.Universal && b.Scope != resolve.Global
		}
		return !yes
	})
	return yes
}

// scope is what surrounds a statement.
type scope struct {
	def       *syntax.DefStmt
	loop      *syntax.ForStmt
	hanging   bool // on a condition that a probe decides
	condition syntax.Position
}

func (f *flow) block(out *branches, stmts []syntax.Stmt, in scope) {
	for _, stmt := range stmts {
		f.stmt(out, stmt, in)
	}
}

func (f *flow) stmt(out *branches, stmt syntax.Stmt, in scope) {
	switch x := stmt.(type) {
	case *syntax.AssignStmt:
		f.expr(out, x.RHS)
		if in.hanging || f.sees(x.RHS) {
			f.assign(x.LHS)
		}
	case *syntax.DefStmt:
		f.block(out, x.Body, scope{def: x})
	case *syntax.ExprStmt:
		f.expr(out, x.X)
		f.leave(out, x, in)
	case *syntax.ForStmt:
		f.expr(out, x.X)
		in.loop = x
		if f.sees(x.X) {
			f.assign(x.Vars)
			in.hanging, in.condition = true, x.For
			out.add(x.For, syntax.End(x.X), x)
		}
		f.block(out, x.Body, in)
	case *syntax.IfStmt:
		f.expr(out, x.Cond)
		if f.sees(x.Cond) {
			in.hanging, in.condition = true, x.If
			out.add(x.If, syntax.End(x.Cond), x)
		}
		f.block(out, x.True, in)
		f.block(out, x.False, in)
	case *syntax.ReturnStmt:
		f.expr(out, x.Result)
		if in.def != nil && (in.hanging || f.sees(x.Result)) {
			f.mark(in.def.Name)
		}
		f.leave(out, x, in)
	case *syntax.BranchStmt:
		f.leave(out, x, in)
	}
}

// leave extends a condition over what it makes a function or a loop skip.
func (f *flow) leave(out *branches, stmt syntax.Stmt, in scope) {
	if !in.hanging {
		return
	}
	switch x := stmt.(type) {
	case *syntax.BranchStmt:
		if x.Token != syntax.PASS && in.loop != nil {
			out.add(in.condition, in.loop.For, in.loop)
		}
	case *syntax.ReturnStmt:
		out.rest(in)
	case *syntax.ExprStmt:
		if c, ok := x.X.(*syntax.CallExpr); ok {
			if id, ok := c.Fn.(*syntax.Ident); ok && id.Name == "fail" {
				out.rest(in)
			}
		}
	}
}

// expr looks into an expression for conditions and for calls that pass on
// what was seen.
func (f *flow) expr(out *branches, e syntax.Expr) {
	if !f.sees(e) { // nor does any part of it
		return
	}
	syntax.Walk(e, func(n syntax.Node) bool {
		switch x := n.(type) {
		case *syntax.CondExpr:
			if f.sees(x.Cond) {
				out.add(x.If, syntax.Start(x), x)
			}
		case *syntax.BinaryExpr:
			if (x.Op == syntax.AND || x.Op == syntax.OR) && f.sees(x.X) {
				out.add(x.OpPos, x.OpPos, x)
			}
		case *syntax.Comprehension:
			for _, c := range x.Clauses {
				switch c := c.(type) {
				case *syntax.IfClause:
					if f.sees(c.Cond) {
						out.add(c.If, x.Lbrack, x)
					}
				case *syntax.ForClause:
					if f.sees(c.X) {
						f.assign(c.Vars)
						out.add(c.For, x.Lbrack, x)
					}
				}
			}
		case *syntax.CallExpr:
			f.call(x)
		}
		return true
	})
}

func (f *flow) call(x *syntax.CallExpr) {
	if !slices.ContainsFunc(x.Args, f.sees) {
		return
	}
	switch fn := x.Fn.(type) {
	case *syntax.Ident: // a function of the script: its parameters are seen
		key := first(fn)
		if other, loaded := f.same[key]; loaded {
			key = other
		}
		for _, p := range f.params[key] {
			f.mark(p)
		}
	case *syntax.DotExpr: // list.append(seen)
		f.assign(fn.X)
	}
}

// assign marks the variables that an assignment changes.
func (f *flow) assign(lhs syntax.Expr) {
	switch x := lhs.(type) {
	case *syntax.IndexExpr:
		f.assign(x.X)
	case *syntax.DotExpr:
		f.assign(x.X)
	default:
		eachIdent(lhs, f.mark)
	}
}

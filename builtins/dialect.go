package builtins

import (
	"errors"
	"fmt"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

// dialect: sets, loops and conditions at the top level, and names that are
// bound again (else two loops there could not share a variable). No while and
// no recursion: a script ends.
var dialect = &syntax.FileOptions{Set: true, TopLevelControl: true, GlobalReassign: true}

const maxErrors = 20 // of one file; more are no help

// compile reads a file and finds every error that can be found without running
// it.
func compile(name, source string, predeclared starlark.StringDict) (*syntax.File, *starlark.Program, error) {
	file, err := dialect.Parse(name, source, 0)
	if err != nil {
		return nil, nil, syntaxErrors(name, source, err)
	}
	found := namesTaken(file, predeclared)
	rewriteEquality(file)
	program, err := starlark.FileProgram(file, func(name string) bool { return predeclared.Has(name) })
	var list resolve.ErrorList
	switch {
	case errors.As(err, &list):
		for i, e := range list {
			if i == maxErrors { // guessing what a name means takes a while
				found = append(found, protocol.ScriptError{Pos: spec.Pos(name), Message: fmt.Sprintf("and %d more errors", len(list)-maxErrors)})
				break
			}
			found = append(found, resolveError(e, predeclared))
		}
	case err != nil:
		found = append(found, protocol.ScriptError{Pos: spec.Pos(name), Message: notation.Clean(err.Error(), maxMessage)})
	}
	if len(found) > 0 {
		return nil, nil, found
	}
	return file, program, nil
}

// namesTaken refuses what Starlark would take, and what is always a slip: a
// second def of one name, which silently replaces the first, and a global with
// a builtin's name, which makes `traffic = traffic(…)` fail in a puzzling way.
func namesTaken(file *syntax.File, predeclared starlark.StringDict) (found sourceErrors) {
	say := func(pos syntax.Position, hint, format string, args ...any) {
		found = append(found, protocol.ScriptError{
			Pos: spec.Pos(pos.String()), Message: notation.Clean(fmt.Sprintf(format, args...), maxMessage), Hint: hint,
		})
	}
	global := func(id *syntax.Ident) {
		if predeclared.Has(id.Name) {
			say(id.NamePos, "choose another name, such as my_"+id.Name, "%s is the name of a builtin and cannot be bound again", id.Name)
		}
	}
	eachBlock(file.Stmts, true, func(stmts []syntax.Stmt, top bool) {
		defs := map[string]syntax.Position{}
		for _, stmt := range stmts {
			switch stmt := stmt.(type) {
			case *syntax.DefStmt:
				if first, twice := defs[stmt.Name.Name]; twice {
					say(stmt.Name.NamePos, "", "def %s: there is one already at %s, which this would replace", stmt.Name.Name, first)
				}
				defs[stmt.Name.Name] = stmt.Name.NamePos
				if top {
					global(stmt.Name)
				}
			case *syntax.AssignStmt:
				if top {
					eachIdent(stmt.LHS, global)
				}
			case *syntax.ForStmt:
				if top {
					eachIdent(stmt.Vars, global)
				}
			case *syntax.LoadStmt:
				for _, id := range stmt.To {
					global(id)
				}
			}
		}
	})
	return found
}

// eachBlock visits every list of statements; top says that it is outside of
// every function.
func eachBlock(stmts []syntax.Stmt, top bool, visit func(stmts []syntax.Stmt, top bool)) {
	visit(stmts, top)
	for _, stmt := range stmts {
		switch stmt := stmt.(type) {
		case *syntax.DefStmt:
			eachBlock(stmt.Body, false, visit)
		case *syntax.IfStmt:
			eachBlock(stmt.True, top, visit)
			eachBlock(stmt.False, top, visit)
		case *syntax.ForStmt:
			eachBlock(stmt.Body, top, visit)
		}
	}
}

// eachIdent visits the variables that an assignment binds.
func eachIdent(lhs syntax.Expr, visit func(*syntax.Ident)) {
	switch lhs := lhs.(type) {
	case *syntax.Ident:
		visit(lhs)
	case *syntax.ParenExpr:
		eachIdent(lhs.X, visit)
	case *syntax.TupleExpr:
		for _, x := range lhs.List {
			eachIdent(x, visit)
		}
	case *syntax.ListExpr:
		for _, x := range lhs.List {
			eachIdent(x, visit)
		}
	}
}

// docstring is the text at a file's beginning.
func docstring(file *syntax.File) string {
	if len(file.Stmts) == 0 {
		return ""
	}
	if e, ok := file.Stmts[0].(*syntax.ExprStmt); ok {
		if l, ok := e.X.(*syntax.Literal); ok {
			s, _ := l.Value.(string)
			return s
		}
	}
	return ""
}

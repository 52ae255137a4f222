package builtins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

// sql(dsn, query, *, args = None, like = None, timeout = "5s", write = False)
func sqlProbe(s *Session, c *call) (starlark.Value, error) {
	var (
		dsn     notation.DSN
		query   notation.Query
		args    *starlark.List
		like    rowExample
		timeout notation.Duration
		write   bool
	)
	if err := c.unpack(&dsn, &query, &args, &like, &timeout, &write); err != nil {
		return nil, err
	}
	in := protocol.SQL{DSN: string(dsn), Query: string(query), Timeout: time.Duration(timeout), Write: write, Pos: c.at().pos}
	var err error
	if in.Args, err = sqlArgs(args); err != nil {
		return nil, fmt.Errorf("args: %w", err)
	}
	got, err := s.scene.world.SQL(s.ctx, in)
	if err != nil {
		return nil, err
	}
	if s.scene.rehearsal != nil {
		return rehearsedRows(like), nil
	}
	return newRows(got, like)
}

// rowExample is a row that all rows must be like.
type rowExample struct{ row []starlark.Value }

// Unpack implements starlark.Unpacker.
func (e *rowExample) Unpack(v starlark.Value) error {
	list, ok := v.(starlark.Indexable)
	if _, text := v.(starlark.String); !ok || text || list.Len() == 0 {
		return fmt.Errorf("got %s, want the example of a row, such as [0, \"\"]", notation.Got(v))
	}
	for i := range list.Len() {
		switch x := list.Index(i).(type) {
		case starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float, starlark.String:
			e.row = append(e.row, x)
		default:
			return fmt.Errorf("got %s in the example of a row, want None, bools, numbers or strings", x.Type())
		}
	}
	return nil
}

// sqlArgs takes what PostgreSQL can make a parameter of: scalars, and lists of
// them as arrays.
func sqlArgs(args *starlark.List) (json.RawMessage, error) {
	if args == nil {
		return nil, nil
	}
	for x := range args.Elements() {
		if list, ok := x.(*starlark.List); ok {
			for y := range list.Elements() {
				if !scalar(y) {
					return nil, fmt.Errorf("got %s in a list, want None, bools, numbers or strings", y.Type())
				}
			}
			continue
		}
		if !scalar(x) {
			return nil, fmt.Errorf("got %s, want None, bools, numbers, strings, or lists of them", x.Type())
		}
	}
	return toJSON(args)
}

func scalar(v starlark.Value) bool {
	switch v.(type) {
	case starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float, starlark.String:
		return true
	}
	return false
}

// rows are what sql saw. They are true if the database answered.
type rows struct {
	attrs starlark.StringDict
	ok    bool
}

func rehearsedRows(like rowExample) *rows {
	row := like.row
	if row == nil {
		row = []starlark.Value{starlark.MakeInt(0)}
	}
	columns := make([]string, len(row))
	for i := range columns {
		columns[i] = fmt.Sprintf("column%d", i+1)
	}
	return makeRows([]starlark.Value{starlark.NewList(append([]starlark.Value{}, row...))}, row[0], protocol.SQLReply{Columns: columns, Seconds: 0.001})
}

func newRows(got protocol.SQLReply, like rowExample) (*rows, error) {
	if got.Error == "" && like.row != nil && len(got.Columns) != len(like.row) {
		return nil, fmt.Errorf("got rows of %d columns, want %d as in like", len(got.Columns), len(like.row))
	}
	all := make([]starlark.Value, len(got.Rows))
	var first starlark.Value = starlark.None
	for i, raw := range got.Rows {
		row := make([]starlark.Value, len(raw))
		for j, cell := range raw {
			want := starlark.Value(starlark.None)
			if j < len(like.row) {
				want = like.row[j]
			}
			v, err := readCell(cell, want, fmt.Sprintf(" in row %d, column %d", i+1, j+1))
			if err != nil {
				return nil, err
			}
			row[j] = v
			if i == 0 && j == 0 {
				first = v
			}
		}
		all[i] = starlark.NewList(row)
	}
	return makeRows(all, first, got), nil
}

func readCell(cell json.RawMessage, like starlark.Value, where string) (starlark.Value, error) {
	d := json.NewDecoder(bytes.NewReader(cell))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return shaped(v, like, where)
}

func makeRows(all []starlark.Value, first starlark.Value, got protocol.SQLReply) *rows {
	r := &rows{ok: got.Error == ""}
	trouble := starlark.Value(starlark.None)
	if !r.ok {
		trouble = starlark.String(got.Error)
	}
	seconds := got.Seconds
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		seconds = 0
	}
	r.attrs = starlark.StringDict{
		"rows": starlark.NewList(all), "value": first, "columns": stringList(got.Columns), "truncated": starlark.Bool(got.Truncated),
		"seconds": starlark.Float(seconds), "error": trouble, "ok": starlark.Bool(r.ok),
	}
	return r
}

func (r *rows) String() string {
	return fmt.Sprintf("<rows %d>", r.attrs["rows"].(*starlark.List).Len())
}
func (r *rows) Type() string                             { return "rows" }
func (r *rows) Freeze()                                  {}
func (r *rows) Truth() starlark.Bool                     { return starlark.Bool(r.ok) }
func (r *rows) Hash() (uint32, error)                    { return 0, fmt.Errorf("unhashable: rows") }
func (r *rows) AttrNames() []string                      { return r.attrs.Keys() }
func (r *rows) Attr(name string) (starlark.Value, error) { return r.attrs[name], nil }
func (r *rows) instead() string                          { return "compare their .value" }

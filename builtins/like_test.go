package builtins

import (
	"encoding/json"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

func TestShaped(t *testing.T) {
	for _, c := range []struct{ got, like, want string }{
		{`7`, `0`, `7`},
		{`123456789012345678901234567890`, `0`, `123456789012345678901234567890`},
		{`7.5`, `0`, `! got number 7.5, want an integer as in like`},
		{`7`, `0.0`, `7.0`},
		{`1e999`, `0.0`, `! got number 1e999, want a number`},
		{`"7"`, `0`, `! got "7", want an integer`},
		{`true`, `0`, `! got bool true, want an integer`},
		{`null`, `0`, `None`},
		{`null`, `{}`, `! got null, want an object`},
		{`"a"`, `""`, `"a"`},
		{`1`, `""`, `! got number 1, want a string`},
		{`true`, `False`, `True`},
		{`1`, `False`, `! got number 1, want a bool`},
		{`{"a": [1, 2.5, "x", null, {"b": true}]}`, `None`, `{"a": [1, 2.5, "x", None, {"b": True}]}`},
		{`[1, 2]`, `[0]`, `[1, 2]`},
		{`[]`, `[0]`, `[]`},
		{`{}`, `[0]`, `! got an object, want a list`},
		{`{"a": 1, "b": 2}`, `{"a": 0}`, `{"a": 1}`},
		{`{"b": 2}`, `{"a": 0}`, `! got no "a", want one as in like`},
		{`[{"a": [1]}, {"a": [1, "x"]}]`, `[{"a": [0]}]`, `! got "x" at [1].a[1], want an integer`},
		{`{"a": {}}`, `{"a": {"b": 0}}`, `! got no "b" at .a, want one`},
	} {
		d := json.NewDecoder(strings.NewReader(c.got))
		d.UseNumber()
		var got any
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		like, err := starlark.EvalOptions(&syntax.FileOptions{}, &starlark.Thread{}, "like", c.like, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := shaped(got, like, "")
		want, wrong := strings.CutPrefix(c.want, "! ")
		switch {
		case wrong && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s like %s: got %v, %v, want %s", c.got, c.like, v, err, want)
		case !wrong && (err != nil || v.String() != want):
			t.Errorf("%s like %s: got %v, %v, want %s", c.got, c.like, v, err, want)
		}
	}
}

// What the rehearsal gets is its own: a script may change it.
func TestCopied(t *testing.T) {
	like, err := starlark.EvalOptions(&syntax.FileOptions{}, &starlark.Thread{}, "like", `{"a": [{"b": 0}]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	like.Freeze()
	got := copied(like).(*starlark.Dict)
	if err := got.SetKey(starlark.String("c"), starlark.None); err != nil {
		t.Error(err)
	}
	if like.String() != `{"a": [{"b": 0}]}` {
		t.Errorf("got %s", like)
	}
}

package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

// http(url, *, method = "GET", headers = None, body = None, timeout = "5s")
func httpProbe(s *Session, c *call) (starlark.Value, error) {
	var (
		url     notation.URL
		method  notation.Method
		headers notation.Headers
		body    requestBody
		timeout notation.Duration
	)
	if err := c.unpack(&url, &method, &headers, &body, &timeout); err != nil {
		return nil, err
	}
	got, err := s.scene.world.HTTP(s.ctx, protocol.HTTP{
		URL: string(url), Method: string(method), Headers: body.with(headers), Body: body.text,
		Timeout: time.Duration(timeout), Pos: c.at().pos,
	})
	if err != nil {
		return nil, err
	}
	return s.newReply(got), nil
}

// reply is what http saw. It is true for a status below 400.
type reply struct {
	s     *Session
	attrs starlark.StringDict
	body  string
	ok    bool
}

func (s *Session) newReply(got protocol.HTTPReply) *reply {
	r := &reply{s: s, body: got.Body, ok: got.Error == "" && got.Status >= 100 && got.Status < 400}
	// No answer has no status, rather than 0: r.status < 500 must not hold.
	status, trouble := starlark.Value(starlark.MakeInt(got.Status)), starlark.Value(starlark.None)
	if got.Error != "" || got.Status == 0 {
		status, trouble = starlark.None, starlark.String(got.Error)
	}
	headers := new(starlark.Dict)
	for name, value := range got.Headers {
		_ = headers.SetKey(starlark.String(name), starlark.String(value)) // a new dict takes strings
	}
	headers.Freeze()
	seconds := got.Seconds
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		seconds = 0
	}
	r.attrs = starlark.StringDict{
		"status": status, "error": trouble, "body": starlark.String(got.Body), "headers": headers,
		"seconds": starlark.Float(seconds), "ok": starlark.Bool(r.ok),
	}
	return r
}

func (r *reply) String() string        { return fmt.Sprintf("<reply %s>", r.attrs["status"]) }
func (r *reply) Type() string          { return "reply" }
func (r *reply) Freeze()               {}
func (r *reply) Truth() starlark.Bool  { return starlark.Bool(r.ok) }
func (r *reply) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: reply") }
func (r *reply) AttrNames() []string {
	return slices.Sorted(slices.Values(append(r.attrs.Keys(), "json")))
}
func (r *reply) instead() string { return "compare its .status" }

var jsonRow = Builtin{Name: "json", Signature: "json(like)", Phase: Anywhere}

// Attr implements starlark.HasAttrs.
func (r *reply) Attr(name string) (starlark.Value, error) {
	if name == "json" {
		row := jsonRow
		row.call = func(_ *Session, c *call) (starlark.Value, error) { return r.json(c) }
		return r.s.bind(&row), nil
	}
	return r.attrs[name], nil
}

// json(like)
//
// It reads the body as JSON of the shape of like. In a rehearsal, where nobody
// answers, it is like itself.
func (r *reply) json(c *call) (starlark.Value, error) {
	var like example
	if err := c.unpack(&like); err != nil {
		return nil, err
	}
	if r.s.scene.rehearsal != nil {
		return copied(like.value), nil
	}
	if r.attrs["status"] == starlark.None {
		return nil, hint(fmt.Errorf("got no answer: %s", r.attrs["error"]), "look at .ok first")
	}
	d := json.NewDecoder(strings.NewReader(r.body))
	d.UseNumber()
	var got any
	err := d.Decode(&got)
	if err == nil && d.More() {
		err = errors.New("there is more than one value")
	}
	if err != nil {
		return nil, fmt.Errorf("got status %s and a body that is no JSON (%v): %s", r.attrs["status"], err, notation.Quote(r.body))
	}
	return shaped(got, like.value, "")
}

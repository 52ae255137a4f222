package builtins

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.starlark.net/starlark"

	"chaosrunner/runner/protocol"
)

// A handle is a fault that is in place. It is true until .undo().
type handle struct {
	s       *Session
	kind    string
	id      string
	targets []string
	undone  bool
	change  *Builtin // its .update(); nil: it cannot be changed
	got     protocol.Handle
	said    starlark.StringDict // more attributes
}

var undoRow = Builtin{Name: "undo", Signature: "undo()", Phase: Probe}

func (h *handle) String() string        { return fmt.Sprintf("<fault %s of %s>", h.kind, article(h.targets)) }
func (h *handle) Type() string          { return "fault" }
func (h *handle) Freeze()               {}
func (h *handle) Truth() starlark.Bool  { return starlark.Bool(!h.undone) }
func (h *handle) Hash() (uint32, error) { return starlark.String(h.id).Hash() }
func (h *handle) AttrNames() []string {
	return slices.Sorted(slices.Values(append(h.said.Keys(), "targets", "undo", "update")))
}

func (h *handle) Attr(name string) (starlark.Value, error) {
	switch name {
	case "targets":
		return stringList(h.targets), nil
	case "undo":
		row := undoRow
		row.call = func(_ *Session, c *call) (starlark.Value, error) { return nil, h.undo(c) }
		return h.s.bind(&row), nil
	case "update":
		if h.change != nil {
			return h.s.bind(h.change), nil
		}
		none := Builtin{Name: "update", Signature: "update(**changes)", Phase: Act}
		none.call = func(*Session, *call) (starlark.Value, error) {
			return nil, fmt.Errorf("a %s cannot be changed while it is in: .undo() it and inject another", h.kind)
		}
		return h.s.bind(&none), nil
	}
	return h.said[name], nil // nil: there is none
}

// updates gives the fault an .update() with that signature: read takes its
// arguments and returns the kind's parameters, whole.
func (h *handle) updates(signature string, read func(*call) (params, error)) {
	h.change = &Builtin{Name: "update", Signature: signature, Phase: Act}
	h.change.call = func(s *Session, c *call) (starlark.Value, error) {
		p, err := read(c)
		if err != nil {
			return nil, err
		}
		if h.undone {
			return nil, fmt.Errorf("the %s of %s is undone already", h.kind, article(h.targets))
		}
		if err := p.Validate(); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		return nil, s.scene.world.Change(s.ctx, protocol.Change{ID: h.id, Params: raw, Pos: c.at().pos})
	}
}

// undo takes the fault back and returns once it is gone. Nothing there is
// success.
func (h *handle) undo(c *call) error {
	if err := c.unpack(); err != nil {
		return err
	}
	if h.undone {
		return nil
	}
	if err := h.s.scene.world.Release(h.s.ctx, protocol.Release{ID: h.id, Pos: c.at().pos}); err != nil {
		return err
	}
	h.undone = true
	return nil
}

func stringList(all []string) *starlark.List {
	values := make([]starlark.Value, len(all))
	for i, s := range all {
		values[i] = starlark.String(s)
	}
	list := starlark.NewList(values)
	list.Freeze()
	return list
}

package builtins

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

// What a script can make the journal and the terminal swallow in one scene.
const (
	maxNote  = 2000 // bytes of one note
	maxNotes = 500
)

// note(text)
func note(s *Session, c *call) (starlark.Value, error) {
	var text string
	if err := c.unpack(&text); err != nil {
		return nil, err
	}
	return nil, s.tell(c, text, false)
}

// print(*args, sep = " ")
func printArgs(s *Session, c *call) (starlark.Value, error) {
	var sep string
	if err := c.unpack(&sep); err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, v := range c.args {
		if i > 0 {
			b.WriteString(sep)
		}
		if text, ok := starlark.AsString(v); ok {
			b.WriteString(text)
		} else {
			b.WriteString(v.String())
		}
		if b.Len() > 2*maxNote {
			break
		}
	}
	return nil, s.tell(c, b.String(), true)
}

// tell passes a remark on, harmless and short. The rest of a flood is dropped,
// and that is told.
func (s *Session) tell(c *call, text string, print bool) error {
	s.scene.notes++
	switch n := s.scene.notes; {
	case n == maxNotes+1:
		text = fmt.Sprintf("more than %d remarks: the rest is left out", maxNotes)
	case n > maxNotes:
		return nil
	}
	return s.scene.world.Note(s.ctx, protocol.Note{Text: notation.Clean(text, maxNote), Print: print, Pos: c.at().pos})
}

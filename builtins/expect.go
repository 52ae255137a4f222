package builtins

import (
	"fmt"

	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
)

// expect(condition, message)
func expect(s *Session, c *call) (starlark.Value, error) {
	var (
		condition starlark.Value
		message   notation.Sentence
	)
	if err := c.unpack(&condition, &message); err != nil {
		return nil, err
	}
	ok := condition.Truth()
	switch condition.(type) {
	case starlark.Bool, *reply:
	default:
		return nil, hint(fmt.Errorf("condition: got %s, want True or False", notation.Got(condition)),
			"compare something, as r.status == 200 or w[availability].value >= 0.99")
	}
	if !ok && s.scene.rehearsal == nil { // what stand-ins say proves nothing
		return nil, expectFailed{string(message)}
	}
	return nil, nil
}

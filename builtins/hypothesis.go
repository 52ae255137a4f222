package builtins

import (
	"go.starlark.net/starlark"

	"chaosrunner/builtins/notation"
)

// hypothesis(text)
func hypothesis(s *Session, c *call) (starlark.Value, error) {
	var text notation.Sentence
	if err := c.unpack(&text); err != nil {
		return nil, err
	}
	if err := s.declared.only(c); err != nil {
		return nil, err
	}
	s.declared.experiment.Hypothesis = string(text)
	return nil, nil
}

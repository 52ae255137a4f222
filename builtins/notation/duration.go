package notation

import (
	"fmt"
	"strings"
	"time"

	"go.starlark.net/starlark"
)

// MaxDuration is more than any experiment lasts. It keeps sums of durations far
// from overflow.
const MaxDuration = 24 * time.Hour

// Duration is a length of time, greater than 0: "400ms", "1m30s".
type Duration time.Duration

// Unpack implements starlark.Unpacker.
func (d *Duration) Unpack(v starlark.Value) error {
	s, ok := v.(starlark.String)
	if !ok {
		return want(v, `a duration such as "30s" or "400ms"%s`, secondsHint(v))
	}
	x, err := ParseDuration(string(s))
	if err != nil {
		return err
	}
	*d = Duration(x)
	return nil
}

// ParseDuration reads a duration as scripts write it.
func ParseDuration(s string) (time.Duration, error) {
	v := starlark.String(s)
	x, err := time.ParseDuration(s)
	switch {
	case err != nil && plainNumber(s):
		return 0, want(v, `a duration with its unit, such as "%ss" or "%sms"`, s, s)
	case err != nil:
		return 0, want(v, `a duration such as "30s", "400ms" or "1m30s"`)
	case x <= 0:
		return 0, want(v, "a duration greater than 0")
	case x > MaxDuration:
		return 0, want(v, "a duration of at most 24h")
	}
	return x, nil
}

func plainNumber(s string) bool {
	_, unit, ok := number(s)
	return ok && unit == ""
}

func secondsHint(v starlark.Value) string {
	switch v.(type) {
	case starlark.Int, starlark.Float:
		return fmt.Sprintf(`: write the unit, %q for seconds`, Short(v)+"s")
	}
	return ""
}

// Short is a number as Starlark prints it, at most 24 characters.
func Short(v starlark.Value) string {
	s := v.String()
	if len(s) > 24 {
		s = s[:24]
	}
	return strings.TrimSuffix(s, ".0")
}

package supervise

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

// replacer takes values out of texts, in each of the ways that they may be
// written there. Longer ones first: one may be a part of another.
func replacer(values map[string]string) *strings.Replacer {
	type pair struct{ from, to string }
	var pairs []pair
	for name, value := range values {
		all := writings(value)
		if u, err := url.Parse(value); err == nil { // a whole DSN; errors tell its parts
			if password, set := u.User.Password(); set && len(password) >= minSecret {
				all = append(all, writings(password)...)
			}
		}
		for _, text := range all {
			pairs = append(pairs, pair{text, "((masked." + name + "))"})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(len(b.from), len(a.from)), strings.Compare(a.from, b.from), strings.Compare(a.to, b.to))
	})
	var args []string
	for _, p := range pairs {
		args = append(args, p.from, p.to)
	}
	return strings.NewReplacer(args...)
}

func writings(value string) []string {
	quoted := strconv.Quote(value)
	return []string{
		value, url.QueryEscape(value), url.PathEscape(value), strings.TrimPrefix(url.UserPassword("", value).String(), ":"),
		inJSON(value), quoted[1 : len(quoted)-1], base64.StdEncoding.EncodeToString([]byte(value)),
	}
}

// text is a text without values.
func (s *secrets) text(text string) string {
	if s == nil {
		return text
	}
	return s.mask.Replace(text)
}

// answer is a text for the worker: without values, and without what would be a
// mark there.
func (s *secrets) answer(text string) string {
	if s == nil {
		return text
	}
	return notation.Defused(s.text(text))
}

// err is an error without values.
func (s *secrets) err(err error) error {
	if err == nil || s == nil {
		return err
	}
	if text := s.text(err.Error()); text != err.Error() {
		return protocol.Errorf(protocol.CodeOf(err), "%s", text)
	}
	return err
}

// hide takes values out of every string of a struct, as JSON has it.
func (s *secrets) hide(data any, mask func(string) string) any {
	if s == nil || data == nil {
		return data
	}
	nothing := reflect.Zero(reflect.TypeOf(data)).Interface() // rather than a value
	raw, err := json.Marshal(data)
	if err != nil {
		return nothing
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nothing
	}
	changed := false
	tree = eachString(tree, func(text string) string {
		masked := mask(text)
		changed = changed || masked != text
		return masked
	})
	if !changed {
		return data
	}
	out := reflect.New(reflect.TypeOf(data))
	if raw, err = json.Marshal(tree); err == nil {
		err = json.Unmarshal(raw, out.Interface())
	}
	if err != nil {
		return nothing
	}
	return out.Elem().Interface()
}

func eachString(tree any, mask func(string) string) any {
	switch tree := tree.(type) {
	case string:
		return mask(tree)
	case []any:
		for i := range tree {
			tree[i] = eachString(tree[i], mask)
		}
	case map[string]any:
		masked := make(map[string]any, len(tree))
		for key, value := range tree {
			masked[mask(key)] = eachString(value, mask)
		}
		return masked
	}
	return tree
}

// maskedWriter writes lines without values; each call has whole ones.
type maskedWriter struct {
	to io.Writer
	s  *secrets
}

func (w maskedWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, w.s.text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// refusal is an error before anything was touched, without values.
func (s *secrets) refusal(err error) error {
	var refused *Refusal
	if s == nil || !errors.As(err, &refused) {
		return s.err(err)
	}
	return s.hide(refused, s.text).(*Refusal)
}

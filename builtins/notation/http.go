package notation

import (
	"net/url"
	"slices"
	"strings"

	"go.starlark.net/starlark"
)

// URL is an absolute http or https URL without a password:
// "http://localhost:8080/checkout".
type URL string

const maxURL = 2000

// Unpack implements starlark.Unpacker.
func (u *URL) Unpack(v starlark.Value) error {
	const written = `a URL such as "http://localhost:8080/checkout"`
	s, ok := v.(starlark.String)
	if !ok {
		return want(v, "%s", written)
	}
	p, err := url.Parse(string(s))
	switch {
	case err != nil || len(s) > maxURL || !safeText(string(s)) || strings.Contains(string(s), " "):
		return want(v, "%s", written)
	case p.Scheme != "http" && p.Scheme != "https":
		return want(v, "%s: it begins with http:// or https://", written)
	case p.Hostname() == "":
		return want(v, "%s: it names a host", written)
	case p.User != nil: // not told back: it would stand in logs
		return want(starlark.String("http://…@"+p.Host), "a URL without user and password: use headers =")
	case p.Fragment != "":
		return want(v, "a URL without #: no server sees what follows it")
	}
	*u = URL(s)
	return nil
}

// Method is an HTTP method: "GET".
type Method string

// Unpack implements starlark.Unpacker.
func (m *Method) Unpack(v starlark.Value) error {
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	s, ok := v.(starlark.String)
	if !ok || !slices.Contains(methods, strings.ToUpper(string(s))) {
		return want(v, "one of %s", strings.Join(methods, ", "))
	}
	*m = Method(strings.ToUpper(string(s)))
	return nil
}

// Headers are HTTP headers: {"Accept": "text/html"}.
type Headers map[string]string

// Unpack implements starlark.Unpacker.
func (h *Headers) Unpack(v starlark.Value) error {
	const written = `headers such as {"Accept": "text/html"}`
	d, ok := v.(*starlark.Dict)
	if !ok {
		return want(v, "%s", written)
	}
	if d.Len() > 50 {
		return want(v, "at most 50 headers: this has %d", d.Len())
	}
	out := Headers{}
	for key, value := range starlark.Entries(d) {
		name, ok1 := key.(starlark.String)
		text, ok2 := Text(value)
		switch {
		case !ok1:
			return want(key, "%s", written)
		case !ok2:
			return want(value, "%s", written)
		case !token(string(name)):
			return want(name, "a header's name such as \"Accept\"")
		case len(text) > 4000 || !safeText(text):
			return want(value, "a header's value of at most 4000 bytes without control characters")
		}
		out[string(name)] = text
	}
	*h = out
	return nil
}

// token is RFC 9110's, of which names of headers are made.
func token(s string) bool {
	return s != "" && len(s) <= 100 && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789"+
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

package notation

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
)

// DSN is the address of a PostgreSQL database, as
// "postgres://user:password@host:5432/database?sslmode=disable".
type DSN string

// Unpack implements starlark.Unpacker.
func (d *DSN) Unpack(v starlark.Value) error {
	s, ok := Text(v)
	if !ok {
		return want(v, `a database such as "postgres://user:password@postgres:5432/shop"`)
	}
	if names := Marked(s); len(names) == 1 && s == Mark(names[0]) {
		*d = DSN(s) // the supervisor reads it
		return nil
	}
	u, err := ParseDSN(s)
	if err != nil {
		return err
	}
	if names := Marked(u.Host + u.Path + u.RawQuery); len(names) > 0 {
		return fmt.Errorf("got the secret %s in a DSN's host, database or options, want it as user, as password, or as the whole DSN", names[0])
	}
	*d = DSN(s)
	return nil
}

// ParseDSN reads a DSN; an error never shows its password.
func ParseDSN(s string) (*url.URL, error) {
	wrong := func(what, want string) error {
		return fmt.Errorf(`got %s, want %s, as in "postgres://user:password@postgres:5432/shop"`, what, want)
	}
	if !safeText(s) || len(s) > 2000 {
		return nil, wrong("a DSN with control characters, or one too long", "a plain one")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, wrong("a DSN that is no URL", "one; a password in it is written with %-escapes where it has special characters")
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		return nil, wrong("a DSN of the scheme "+Quote(u.Scheme), "postgres://")
	case u.Hostname() == "" || strings.ContainsAny(u.Host, ","):
		return nil, wrong("a DSN without one host", "a host")
	case u.User.Username() == "":
		return nil, wrong("a DSN without a user", "a user")
	case strings.Trim(u.Path, "/") == "" || strings.Contains(strings.Trim(u.Path, "/"), "/"):
		return nil, wrong("a DSN without a database", "a database")
	case u.Fragment != "":
		return nil, wrong("a DSN with a fragment", "none")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, wrong("the port "+Quote(p), "a port")
		}
	}
	for name, values := range u.Query() {
		if name != "sslmode" {
			return nil, wrong("the option "+Quote(name), "no option but sslmode")
		}
		switch values[0] {
		case "disable", "prefer", "require":
		default:
			return nil, wrong("sslmode="+Clean(values[0], 40), "disable, prefer or require")
		}
	}
	return u, nil
}

// Query is one SQL statement.
type Query string

const maxQuery = 100_000

// Unpack implements starlark.Unpacker.
func (q *Query) Unpack(v starlark.Value) error {
	s, ok := v.(starlark.String)
	switch {
	case !ok || strings.TrimSpace(string(s)) == "":
		return want(v, `a statement such as "SELECT count(*) FROM orders"`)
	case len(s) > maxQuery || strings.ContainsRune(string(s), 0):
		return fmt.Errorf("got a statement of %d bytes, want at most %d, and no zero among them", len(s), maxQuery)
	}
	*q = Query(s)
	return nil
}

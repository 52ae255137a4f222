package notation

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
)

// Endpoints are places to scrape, at least one: "api:8080/metrics" names a
// target's port, "http://…" is a URL.
type Endpoints []string

// Unpack implements starlark.Unpacker.
func (e *Endpoints) Unpack(v starlark.Value) error {
	const written = `a target's port and path such as "api:8080/metrics", a URL, or a list of them`
	all, err := texts(v, written, 50)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return want(v, "%s", written)
	}
	var out Endpoints
	for _, s := range all {
		if strings.Contains(s, "://") {
			var u URL
			if err := u.Unpack(starlark.String(s)); err != nil {
				return err
			}
		} else if !endpoint(s) {
			return want(starlark.String(s), "%s", written)
		}
		if slices.Contains(out, s) {
			return want(starlark.String(s), "each endpoint once")
		}
		out = append(out, s)
	}
	*e = out
	return nil
}

func endpoint(s string) bool {
	host, path, ok := strings.Cut(s, "/")
	target, port, ported := strings.Cut(host, ":")
	n, err := strconv.Atoi(port)
	if !ok || !ported || err != nil || n < 1 || n > 65535 || checkTarget(target) != nil || strings.ContainsAny(target, "*?[") {
		return false
	}
	u, err := url.Parse("http://target/" + path)
	return err == nil && u.Fragment == "" && safeText(s) && !strings.Contains(s, " ") && len(s) <= maxURL
}

package supervise

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/protocol"
)

// resolveURL puts an address in the place of a target's name. The published
// port is preferred: it is what users of the system reach.
func (r *run) resolveURL(ctx context.Context, raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "", protocol.Errorf(protocol.CodeBad, "got url %q, want http://host:port/path", raw)
	}
	if isPlain(u.Hostname()) {
		return raw, nil
	}
	t, err := r.one(ctx, u.Hostname())
	if err != nil {
		return "", err
	}
	port := 80
	if p := u.Port(); p != "" {
		port, _ = strconv.Atoi(p) // url.Parse has seen that it is a number
	}
	address, err := r.address(ctx, t, port)
	if err != nil {
		return "", err
	}
	u.Host = address
	return u.String(), nil
}

// fetch scrapes one endpoint: a target's port through the agent, inside its
// network namespace; anything else from here.
func (r *run) fetch(ctx context.Context, endpoint string) (string, []byte, error) {
	e, err := r.placeOf(ctx, endpoint)
	if err != nil {
		return "", nil, err
	}
	contentType, body, err := r.fetchFrom(ctx, e)
	if err != nil {
		r.places.Delete(endpoint) // it may have been re-created meanwhile
	}
	if s := r.secrets.Load(); s != nil { // every sample is kept
		body, err = []byte(s.text(string(body))), s.err(err)
	}
	return contentType, body, err
}

// placeOf remembers where an endpoint is until a scrape of it fails.
func (r *run) placeOf(ctx context.Context, endpoint string) (place, error) {
	if known, ok := r.places.Load(endpoint); ok {
		return known.(place), nil
	}
	e, err := r.endpoint(ctx, endpoint)
	if err == nil {
		r.places.Store(endpoint, e)
	}
	return e, err
}

func (r *run) fetchFrom(ctx context.Context, e place) (string, []byte, error) {
	var got protocol.Fetched
	timeout := r.exp.Metrics.Timeout
	if e.plain != "" {
		reply, err := r.get(ctx, e.plain)
		if err != nil {
			return "", nil, err
		}
		got = reply
	} else if err := r.agent.call(ctx, timeout+time.Second, protocol.CallFetch, protocol.Fetch{
		Container: e.target.ID, Port: e.port, Path: e.path, Timeout: timeout, MaxBytes: maxExposition,
		Headers: map[string]string{"Accept": "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.8"},
	}, &got); err != nil {
		return "", nil, err
	}
	if got.Status != http.StatusOK {
		return "", nil, fmt.Errorf("got status %d, want 200", got.Status)
	}
	return got.ContentType, got.Body, nil
}

const maxExposition = 4 << 20 // bytes of one scrape

type place struct {
	plain  string // a URL to be asked from here
	target fault.Target
	port   int
	path   string
}

// endpoint reads "api:8080/metrics" or a URL.
func (r *run) endpoint(ctx context.Context, endpoint string) (place, error) {
	raw := endpoint
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return place{}, protocol.Errorf(protocol.CodeBad, `got endpoint %q, want "target:port/path" or a URL`, endpoint)
	}
	if u.Path == "" {
		u.Path = "/metrics"
	}
	if isPlain(u.Hostname()) || u.Scheme == "https" {
		return place{plain: u.String()}, nil
	}
	port, err := net.LookupPort("tcp", u.Port())
	if err != nil || port == 0 {
		return place{}, protocol.Errorf(protocol.CodeBad, `got endpoint %q, want a port, as in "target:8080/metrics"`, endpoint)
	}
	t, err := r.one(ctx, u.Hostname())
	if err != nil {
		return place{}, err
	}
	return place{target: t, port: port, path: u.RequestURI()}, nil
}

package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
)

const maxBody = 1 << 20 // bytes of a probe's answer that a script gets

// http is a probe of the script: to a declared place only.
func (r *run) http(ctx context.Context, in protocol.HTTP) (protocol.HTTPReply, error) {
	reply, err := r.askHTTP(ctx, in)
	if err == nil && r.live.Load() {
		r.journal.Record(journal.HTTP{Pos: in.Pos, Method: in.Method, URL: in.URL, Status: reply.Status, Seconds: reply.Seconds, Error: reply.Error})
	}
	return reply, err
}

// askHTTP is a probe that nobody reads of.
func (r *run) askHTTP(ctx context.Context, in protocol.HTTP) (protocol.HTTPReply, error) {
	u, err := url.Parse(in.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return protocol.HTTPReply{}, protocol.Errorf(protocol.CodeBad, "http: got url %q, want http://host:port/path", in.URL)
	}
	if !r.declared(u) {
		return protocol.HTTPReply{}, protocol.Errorf(protocol.CodeRefused,
			"http: %s is no declared place; want the host of a traffic, probe, metrics or prometheus declaration, or a target of the blast radius", u.Host)
	}
	s := r.secrets.Load()
	if in.Headers, err = s.headers(in.Headers); err != nil {
		return protocol.HTTPReply{}, err
	}
	if in.Body, err = s.body(in.Body); err != nil {
		return protocol.HTTPReply{}, err
	}
	began := time.Now()
	reply, err := r.send(ctx, u, in)
	reply.Seconds = time.Since(began).Seconds()
	if err != nil {
		reply.Error = err.Error()
	}
	return reply, nil
}

func (r *run) send(ctx context.Context, u *url.URL, in protocol.HTTP) (protocol.HTTPReply, error) {
	if target, port, ok := r.asTarget(ctx, u); ok {
		var got protocol.Fetched
		err := r.present().call(ctx, in.Timeout+5*time.Second, protocol.CallFetch, protocol.Fetch{
			Container: target.ID, Port: port, Path: u.RequestURI(), Method: in.Method, Headers: in.Headers,
			Body: []byte(in.Body), Timeout: in.Timeout, MaxBytes: maxBody,
		}, &got)
		return protocol.HTTPReply{Status: got.Status, Body: string(got.Body)}, err
	}
	ctx, cancel := context.WithTimeout(ctx, in.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, in.Method, in.URL, strings.NewReader(in.Body))
	if err != nil {
		return protocol.HTTPReply{}, err
	}
	for k, v := range in.Headers {
		req.Header.Set(k, v)
	}
	resp, err := plainHTTP.Do(req)
	if err != nil {
		return protocol.HTTPReply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("the answer is longer than %d bytes", maxBody)
	}
	headers := map[string]string{}
	for k := range resp.Header {
		headers[strings.ToLower(k)] = resp.Header.Get(k)
	}
	return protocol.HTTPReply{Status: resp.StatusCode, Headers: headers, Body: string(body[:min(len(body), maxBody)])}, err
}

// plainHTTP follows no redirects: where a probe is sent is declared.
var plainHTTP = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// declared says that a URL's host is one the script has declared.
func (r *run) declared(u *url.URL) bool {
	host := u.Hostname()
	if slices.Contains(r.exp.BlastRadius.Targets, host) {
		return true
	}
	var places []string
	for _, t := range r.exp.Traffic {
		places = append(places, t.URL)
	}
	for _, p := range r.exp.Probes {
		places = append(places, p.URL)
	}
	if r.exp.Metrics != nil {
		places = append(places, r.exp.Metrics.Scrape...)
	}
	if r.exp.Prometheus != nil {
		places = append(places, r.exp.Prometheus.URL)
	}
	return slices.ContainsFunc(places, func(place string) bool {
		if !strings.Contains(place, "://") {
			place = "http://" + place
		}
		p, err := url.Parse(place)
		return err == nil && p.Hostname() == host
	})
}

// hostOf is a URL of which only the host is known.
func hostOf(name string) *url.URL { return &url.URL{Scheme: "http", Host: name} }

// isPlain says that a host is an address or a name for the resolver, rather
// than a target.
func isPlain(host string) bool {
	return host == "localhost" || strings.Contains(host, ".") || net.ParseIP(host) != nil
}

// asTarget says which container a URL's host names, if it names one.
func (r *run) asTarget(ctx context.Context, u *url.URL) (fault.Target, int, bool) {
	if isPlain(u.Hostname()) || u.Scheme != "http" {
		return fault.Target{}, 0, false
	}
	t, err := r.one(ctx, u.Hostname())
	if err != nil {
		return fault.Target{}, 0, false
	}
	port := 80
	if p := u.Port(); p != "" {
		port, _ = strconv.Atoi(p)
	}
	return t, port, true
}

// one resolves an expression that must mean exactly one container.
func (r *run) one(ctx context.Context, expr string) (fault.Target, error) {
	resolved, err := r.resolve(ctx, []string{expr})
	if err != nil {
		return fault.Target{}, err
	}
	targets := union(resolved.Matches)
	if len(targets) != 1 {
		return fault.Target{}, fmt.Errorf("%s means %d containers (%s), want one: name it as %q", expr, len(targets), targetNames(targets), expr+"#1")
	}
	return targets[0], nil
}

// address is where a target's port can be reached from here: as published on
// this host, else at the container's own address.
func (r *run) address(ctx context.Context, t fault.Target, port int) (string, error) {
	var got protocol.Addressed
	if err := r.present().call(ctx, 10*time.Second, protocol.CallAddress, protocol.Address{Container: t.ID, Port: port}, &got); err != nil {
		return "", err
	}
	if got.Address == "" {
		return "", errors.New("the engine knows no address of it")
	}
	return got.Address, nil
}

// get asks a place that is no target for its exposition.
func (r *run) get(ctx context.Context, url string) (protocol.Fetched, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return protocol.Fetched{}, err
	}
	resp, err := plainHTTP.Do(req)
	if err != nil {
		return protocol.Fetched{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxExposition+1))
	if err == nil && len(body) > maxExposition {
		err = fmt.Errorf("the exposition is longer than %d bytes", maxExposition)
	}
	return protocol.Fetched{Status: resp.StatusCode, ContentType: resp.Header.Get("Content-Type"), Body: body}, err
}

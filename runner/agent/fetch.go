package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"chaosrunner/runner/protocol"
)

const (
	maxFetches   = 64 // at once; a beat must always find a place on the link
	maxBody      = 16 << 20
	maxFetchTime = 2 * time.Minute
)

// A fetcher makes HTTP requests next to containers. Connections are kept
// alive for as long as a generation lives.
type fetcher struct {
	engine *engine
	slots  insideSlots
	busy   chan struct{}

	mu    sync.Mutex
	doors map[string]*door // by container id
}

func newFetcher(e *engine) *fetcher {
	return &fetcher{
		engine: e, slots: make(insideSlots, maxInside), busy: make(chan struct{}, maxFetches), doors: map[string]*door{},
	}
}

func (f *fetcher) fetch(ctx context.Context, in protocol.Fetch) (protocol.Fetched, error) {
	var none protocol.Fetched
	switch {
	case in.Port < 1 || in.Port > 65535:
		return none, protocol.Errorf(protocol.CodeBad, "agent: fetch: got port %d", in.Port)
	case in.Timeout <= 0 || in.Timeout > maxFetchTime:
		return none, protocol.Errorf(protocol.CodeBad, "agent: fetch: got timeout %v, want at most %v", in.Timeout, maxFetchTime)
	case in.MaxBytes <= 0 || in.MaxBytes > maxBody:
		return none, protocol.Errorf(protocol.CodeBad, "agent: fetch: got max_bytes %d, want at most %d", in.MaxBytes, maxBody)
	}
	select {
	case f.busy <- struct{}{}:
		defer func() { <-f.busy }()
	default:
		return none, protocol.Errorf(protocol.CodeBusy, "agent: fetch: %d requests are under way already", maxFetches)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, in.Timeout)
	defer cancel()
	d, err := f.door(ctx, in.Container)
	if err != nil {
		return none, err
	}
	resp, err := d.send(ctx, in)
	if err != nil {
		return none, fmt.Errorf("agent: fetch %s:%d%s: %w", d.name, in.Port, in.Path, plain(err))
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(io.LimitReader(resp.Body, in.MaxBytes+1))
	if err == nil && int64(len(body)) > in.MaxBytes {
		err = fmt.Errorf("the body is longer than %d bytes", in.MaxBytes)
	}
	if err != nil {
		return none, fmt.Errorf("agent: fetch %s:%d%s: %w", d.name, in.Port, in.Path, err)
	}
	return protocol.Fetched{
		Status: resp.StatusCode, ContentType: resp.Header.Get("Content-Type"), Body: body, Took: time.Since(began),
	}, nil
}

// plain takes away the URL that net/http puts around an error: its host is made up.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// door is the way into one container, made anew for each of its generations.
func (f *fetcher) door(ctx context.Context, id string) (*door, error) {
	f.mu.Lock()
	d := f.doors[id]
	f.mu.Unlock()
	if d != nil && d.fresh() {
		return d, nil
	}
	ask, cancel := f.engine.ask(ctx)
	defer cancel()
	c, err := f.engine.ContainerInspect(ask, id)
	if err != nil {
		return nil, f.engine.away(err)
	}
	if c.State == nil || !c.State.Running || c.State.Pid <= 0 {
		return nil, fmt.Errorf("agent: fetch: container %s is not running", strings.TrimPrefix(c.Name, "/"))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.doors[id]; d != nil {
		if d.started == c.State.StartedAt && d.pid == c.State.Pid {
			d.seen(time.Now())
			return d, nil
		}
		d.close()
	}
	d = openDoor(c, f.slots)
	f.doors[id] = d
	return d, nil
}

func (d *door) send(ctx context.Context, in protocol.Fetch) (*http.Response, error) {
	method := in.Method
	if method == "" {
		method = http.MethodGet
	}
	if !strings.HasPrefix(in.Path, "/") {
		return nil, fmt.Errorf("got path %q, want one that begins with /", in.Path)
	}
	at := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(in.Port)) + in.Path
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(in.Body))
	if err != nil {
		return nil, err
	}
	for name, value := range in.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
		} else {
			req.Header.Set(name, value)
		}
	}
	return d.http.Do(req)
}

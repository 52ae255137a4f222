package sli

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// transport sends the traffic's requests. It notes which are on their way, and
// ends them all when cut is cancelled.
type transport struct {
	http  *http.Transport
	cut   context.Context
	begin func(seq uint32)
}

func newTransport(cut context.Context, timeout time.Duration, conns int, begin func(uint32)) *transport {
	// A dial outlives the request that asked for it (net/http hopes to use the
	// connection for the next one): without a timeout of its own, a target that
	// drops SYNs would collect dials for two minutes each.
	dialer := &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}
	return &transport{
		cut:   cut,
		begin: begin,
		http: &http.Transport{
			Proxy: nil, // the target is measured, not what HTTP_PROXY names
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				defer context.AfterFunc(cut, cancel)()
				return dialer.DialContext(ctx, network, addr)
			},
			TLSHandshakeTimeout: timeout,
			ForceAttemptHTTP2:   true,
			DisableCompression:  true, // no bombs
			MaxIdleConnsPerHost: conns,
			IdleConnTimeout:     30 * time.Second,
			// Times 2,000 in flight; net/http's own 10 MB would be 20 GB.
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// seqHeader is vegeta's own; it goes out with the request, so that a target's
// logs can be held against the results.
const seqHeader = "X-Vegeta-Seq"

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if seq, err := strconv.ParseUint(req.Header.Get(seqHeader), 10, 32); err == nil {
		t.begin(uint32(seq))
	}
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(t.cut, cancel)
	end := func() { stop(); cancel() }
	resp, err := t.http.RoundTrip(req.WithContext(ctx))
	if err != nil {
		end()
		return nil, err
	}
	resp.Body = &endingBody{resp.Body, end}
	return resp, nil
}

type endingBody struct {
	io.ReadCloser
	end func()
}

func (b *endingBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

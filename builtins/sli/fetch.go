package sli

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// accept asks for the formats that Ingest reads, the cheapest to read first.
const accept = `text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1`

// HTTPFetch returns a Fetch for targets that are URLs. It reads at most limit
// bytes (0: what Ingest takes by default); client may be nil.
func HTTPFetch(client *http.Client, limit int64) Fetch {
	if client == nil {
		client = http.DefaultClient
	}
	if limit <= 0 {
		limit = Limits{}.withDefaults().Body
	}
	return func(ctx context.Context, target string) (string, []byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return "", nil, err
		}
		req.Header.Set("Accept", accept)
		req.Header.Set("User-Agent", "chaosrunner")
		resp, err := client.Do(req)
		if err != nil {
			return "", nil, wrapHTTP(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			start, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // for the message only
			return "", nil, fmt.Errorf("got status %d, want 200: %q", resp.StatusCode, oneLine(string(start)))
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if err != nil {
			return "", nil, wrapHTTP(err)
		}
		if int64(len(body)) > limit {
			return "", nil, fmt.Errorf("got more than %d bytes: is this a metrics path?", limit)
		}
		return resp.Header.Get("Content-Type"), body, nil
	}
}

// wrapHTTP words an error of net/http as errorText does; the error itself stays.
func wrapHTTP(err error) error { return &httpError{err} }

type httpError struct{ err error }

func (e *httpError) Error() string { return errorText(e.err.Error()) }
func (e *httpError) Unwrap() error { return e.err }

package service

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serveHere runs h on a free port until stop; ended receives what Serve returned.
func serveHere(t *testing.T, h http.Handler) (addr string, stop func(), ended <-chan error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, slog.New(slog.DiscardHandler), addr, h) }()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return addr, cancel, done
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

func TestServeFinishesWhatIsInFlight(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	addr, stop, ended := serveHere(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		WriteJSON(w, http.StatusOK, "done")
	}))
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + addr)
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	<-entered
	stop()
	for { // until no new customer is let in
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("request in flight: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestAsk(t *testing.T) {
	addr, _, _ := serveHere(t, NewRoutes())
	t.Setenv("ADDR", addr)
	var out bytes.Buffer
	if err := ask(t.Context(), &out, "/healthz"); err != nil || !strings.Contains(out.String(), "alive") {
		t.Errorf("alive: got %q, %v", out.String(), err)
	}
	if err := ask(t.Context(), &out, "/nothing"); err == nil {
		t.Error("404: got no error")
	}
	t.Setenv("ADDR", "127.0.0.1:1")
	if err := ask(t.Context(), &out, "/healthz"); err == nil {
		t.Error("dead: got no error")
	}
}

func TestRoutesMeasure(t *testing.T) {
	r := NewRoutes()
	r.Handle("POST /things/{id}", func(w http.ResponseWriter, _ *http.Request) {
		WriteError(w, http.StatusBadGateway, "broken")
	}, http.StatusOK)
	r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/things/7", nil))

	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`http_requests_total{code="502",handler="/things/{id}",method="post"} 1`,
		`http_requests_total{code="200",handler="/things/{id}",method="post"} 0`,
		`http_request_duration_seconds_bucket{handler="/things/{id}",method="post",le="0.25"} 1`,
		`http_request_duration_seconds_bucket{handler="/things/{id}",method="post",le="0.5"} 1`,
		`http_requests_in_flight{handler="/things/{id}"} 0`,
		"go_goroutines",
		"process_open_fds",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

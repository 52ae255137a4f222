// Package service is what the shop's programs share: how they start, serve, are measured and stop.
//
//	Main ── flags ──▶ -health, -get PATH: ask the running service, print, exit
//	   └─▶ run(ctx) ──▶ Serve ── SIGTERM ──▶ finish the requests in flight ──▶ exit 0
package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	defaultAddr = ":8080"
	// Less than Docker's ten seconds between SIGTERM and SIGKILL.
	shutdownTimeout = 8 * time.Second
	askTimeout      = time.Second
)

// Main runs a service until SIGTERM or SIGINT and exits. The images hold nothing but the binary, so it is its own
// curl as well: -health asks the service that runs beside it, -get prints any path of it.
func Main(name string, run func(ctx context.Context, log *slog.Logger) error) {
	health := flag.Bool("health", false, "exit 0 if the service in this container answers /healthz")
	get := flag.String("get", "", "print the answer of the service in this container to GET `PATH`")
	flag.Parse()

	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("service", name)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	var err error
	switch {
	case *health:
		err = ask(ctx, io.Discard, "/healthz")
	case *get != "":
		err = ask(ctx, os.Stdout, *get)
	default:
		err = run(ctx, log)
	}
	if err != nil {
		log.Error("failed", "error", err)
		os.Exit(1)
	}
}

// Addr is the address to listen on, from ADDR.
func Addr() string {
	if addr := os.Getenv("ADDR"); addr != "" {
		return addr
	}
	return defaultAddr
}

// Serve answers requests on addr until ctx ends, then lets those in flight finish.
func Serve(ctx context.Context, log *slog.Logger, addr string, h http.Handler) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Info("serving", "addr", listener.Addr().String())

	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping")
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return errors.Join(fmt.Errorf("serve: requests were cut off: %w", err), server.Close())
	}
	return nil
}

// Work stands for the time that a service takes of its own, about d.
func Work(d time.Duration) {
	time.Sleep(time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())))
}

func ask(ctx context.Context, out io.Writer, path string) error {
	_, port, err := net.SplitHostPort(Addr())
	if err != nil {
		return fmt.Errorf("ADDR: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+path, nil)
	if err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: got %s, want 200", path, resp.Status)
	}
	return nil
}

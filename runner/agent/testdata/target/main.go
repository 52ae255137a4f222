// Target is what the tests harm: a container's only process. It serves
// /metrics, checks its own health and treats SIGTERM as its environment says.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "health" {
		health()
	}
	if len(os.Args) > 2 { // what is run in it
		write(os.Args[1], os.Args[2])
	}
	switch term := os.Getenv("TERM_MODE"); term {
	case "exit": // what a service does
		go exitOn(syscall.SIGTERM, 0)
	case "slow":
		go exitOn(syscall.SIGTERM, 1500*time.Millisecond)
	case "survive":
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGHUP)
	case "raw": // as in a program without a runtime
		var none [4]uintptr
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGHUP), uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
	default: // "none"
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	}
	if os.Getenv("CRASH") != "" || os.Getenv("CRASH_AGAIN") != "" && !first() && !mended() {
		time.Sleep(50 * time.Millisecond)
		os.Exit(3)
	}
	listen := os.Getenv("LISTEN")
	if listen == "" {
		listen = ":8080"
	}
	http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "up 1")
	})
	http.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("x", 1<<20))
	})
	http.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { time.Sleep(5 * time.Second) })
	fmt.Fprintln(os.Stderr, http.ListenAndServe(listen, nil))
	os.Exit(1)
}

// write makes or removes a file, and ends.
func write(verb, path string) {
	err := os.ErrInvalid
	switch verb {
	case "touch":
		err = os.WriteFile(path, []byte("x"), 0o600)
	case "remove":
		err = os.RemoveAll(path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// mended says that somebody has put right what it crashed of.
func mended() bool {
	_, err := os.Stat("/mended")
	return err == nil
}

// first says whether this is the container's first start.
func first() bool {
	_, err := os.Stat("/started-before")
	if err != nil {
		_ = os.WriteFile("/started-before", nil, 0o600)
	}
	return err != nil
}

func exitOn(s os.Signal, after time.Duration) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, s)
	<-c
	time.Sleep(after)
	os.Exit(0)
}

// health passes, never passes, or passes until the container was restarted
// once: the file outlives a restart, as the container's disk does.
func health() {
	switch os.Getenv("HEALTH") {
	case "never":
		fmt.Println("the database is away")
		os.Exit(1)
	case "once":
		if _, err := os.Stat("/first-start-is-over"); err == nil {
			fmt.Println("broken since the restart")
			os.Exit(1)
		}
	}
	os.Exit(0)
}

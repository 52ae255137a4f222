package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"chaosrunner/runner/protocol"
)

// farewell is how long an agent that a signal has ended waits for a supervisor
// that lives to close the run's ledger in order.
const farewell = 30 * time.Second

// The signals that would end a Go process and can be caught.
var endings = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT}

// Main is the hidden subcommand `runner agent`: it serves one supervisor over
// stdin and stdout until that is gone and everything is undone. It returns the
// exit code: 0, or 6 with something stuck.
func Main(stdin io.Reader, stdout io.Writer, args []string) int {
	if len(args) > 0 {
		fmt.Fprintf(os.Stderr, "runner agent: got %q, want no arguments: it is started by a run, not by hand\n", args)
		return 64
	}
	// A write to a pipe that nobody reads must not end us before the undo. No
	// terminal may stop us either.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, endings...)
	harden()

	a := newAgent()
	a.peer = protocol.NewPeer(stdin, stdout, a)
	link := make(chan error, 1)
	go func() { link <- a.peer.Run(context.Background()) }()
	a.serve(link, signals)
	return a.end()
}

// serve returns once everything is undone and nobody is left to serve.
func (a *agent) serve(link <-chan error, signals <-chan os.Signal) {
	var undone <-chan struct{} // set by the first signal
	var tick <-chan time.Time  // set once all is undone
	var since time.Time
	for {
		select {
		case err := <-link:
			reason := "eof"
			if err != nil {
				reason = "link: " + err.Error()
			}
			a.undoAll(reason, false)
			return
		case s := <-signals:
			switch {
			case tick != nil:
				return // it only hurries us
			case undone == nil: // else the undo is under way, and is never skipped
				go a.undoAll("signal: "+s.String(), false)
				undone = a.undone
			}
			continue
		case <-undone:
			undone, since = nil, time.Now()
		case <-tick:
		}
		if !a.heart.beating() || time.Since(since) > farewell {
			return
		}
		tick = time.After(a.heart.period())
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"golang.org/x/sys/unix"

	"chaosrunner/runner/journal"
	"chaosrunner/runner/report"
	"chaosrunner/runner/supervise"
)

// A screen prints a run for people: a line for each event that tells
// something, colour and a live line of figures only where stdout is a
// terminal.
type screen struct {
	out     io.Writer
	opt     supervise.Options
	name    string
	quiet   bool
	verbose bool
	live    bool // a terminal: the last line shows the current figures

	queue chan journal.Event
	done  chan struct{}

	figures map[string]string
	order   []string
	shown   bool // a live line stands on the terminal
}

// backlog is how many events a terminal that stands still (Ctrl-S, a full
// pipe) may be behind until lines are left out: it must hold up neither the
// journal nor the end of the run.
const backlog = 10_000

func (f *flags) screen(opt supervise.Options) *screen {
	name := strings.TrimSuffix(filepath.Base(opt.Script), ".star")
	out := io.Writer(os.Stdout)
	if f.json {
		out = os.Stderr // stdout is for the result
	}
	s := &screen{
		out: out, opt: opt, name: name, quiet: f.quiet, verbose: f.noisy,
		live:  !f.json && !f.quiet && isTerminal(os.Stdout),
		queue: make(chan journal.Event, backlog), done: make(chan struct{}),
		figures: map[string]string{},
	}
	go func() {
		defer close(s.done)
		for e := range s.queue {
			s.show(e)
		}
	}()
	return s
}

// event takes an event to be shown. It does not wait for the terminal.
func (s *screen) event(e journal.Event) {
	select {
	case s.queue <- e:
	default:
	}
}

// end shows what waits, unless the terminal stands still.
func (s *screen) end() bool {
	close(s.queue)
	select {
	case <-s.done:
		return true
	case <-time.After(2 * time.Second):
		return false
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (s *screen) show(e journal.Event) {
	if s.quiet {
		return
	}
	if sample, ok := e.Data.(journal.Sample); ok {
		s.sample(e, sample)
		return
	}
	line := report.Line(e)
	if line == "" {
		return
	}
	s.clear()
	fmt.Fprintf(s.out, "%s %7.1fs  %s\n", faint.Render(s.name), e.At, styleOf(e).Render(line))
	s.status(e)
}

func (s *screen) sample(e journal.Event, d journal.Sample) {
	if _, known := s.figures[d.Name]; !known {
		s.order = append(s.order, d.Name)
	}
	style := good
	if d.Violated || d.Value == nil {
		style = bad
	}
	s.figures[d.Name] = d.Name + " " + style.Render(report.Number(d.Value))
	if s.verbose {
		s.clear()
		fmt.Fprintf(s.out, "%s %7.1fs  sample %s %s (n=%d) %s\n", faint.Render(s.name), e.At, d.Name, report.Number(d.Value), d.Count, d.Why)
	}
	s.status(e)
}

// status redraws the live line.
func (s *screen) status(e journal.Event) {
	if !s.live || len(s.order) == 0 {
		return
	}
	if _, over := e.Data.(journal.Ended); over {
		s.clear()
		return
	}
	parts := make([]string, len(s.order))
	for i, name := range s.order {
		parts[i] = s.figures[name]
	}
	fmt.Fprintf(s.out, "\r\x1b[K%s %7.1fs  %s", faint.Render(s.name), e.At, strings.Join(parts, " · "))
	s.shown = true
}

func (s *screen) clear() {
	if s.shown {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.shown = false
	}
}

var (
	faint = lipgloss.NewStyle().Faint(true)
	plain = lipgloss.NewStyle()
	good  = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true)
	warn  = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
)

func styleOf(e journal.Event) lipgloss.Style {
	switch e.Kind {
	case "abort", "failure", "expect":
		return bad
	case "inject", "stopping", "undo", "source":
		return warn
	}
	return plain
}

func verdictStyle(r report.Result) lipgloss.Style {
	switch {
	case len(r.Stuck) > 0 || r.Verdict == report.Broke:
		return bad
	case r.Verdict == report.Held:
		return good
	}
	return warn
}

// verdict prints how the run came out and where the evidence lies.
func (s *screen) verdict(r report.Result, expect string) {
	s.clear()
	fmt.Fprintf(s.out, "%s: %s\n", s.name, verdictStyle(r).Render(r.Summary()))
	for _, fault := range r.Faults {
		if fault.Error != "" && fault.Mend != "" {
			fmt.Fprintf(s.out, "  %s is still harmed (%s); mend it with: %s\n  or try again with: runner recover\n", fault.Target, fault.Error, fault.Mend)
		}
	}
	if expect != "" {
		fmt.Fprintf(s.out, "  expected %s\n", expect)
	}
	fmt.Fprintf(s.out, "  evidence: %s", filepath.Join(s.opt.Out, r.Run))
	if s.opt.Log != "" {
		fmt.Fprintf(s.out, ", entry in %s", s.opt.Log)
	}
	fmt.Fprintln(s.out)
}

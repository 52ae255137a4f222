package cage

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
)

const (
	maxWords  = 16 << 10 // bytes kept of stderr
	maxBefore = 2 << 10  // of these, at most, from before the cause of death
	maxLine   = 4 << 10  // a longer line is taken in parts
)

// fatal begins what only a dying Go runtime says. It then prints every
// goroutine, whatever GOTRACEBACK says: of 400,000 that takes minutes.
const fatal = "fatal error: "

// dying begins the line in which Go, or C below it, says what it dies of.
var dying = []string{"panic: ", fatal, "runtime: ", "runtime/cgo: ", "SIGSEGV: ", "SIGBUS: "}

// ofRaceDetector begins such a line of the race detector's, after the pid.
var ofRaceDetector = regexp.MustCompile(`^(==\d+==ERROR: |FATAL: )?ThreadSanitizer[: ]`)

// lastWords keeps the end of what a process writes to stderr. Once it says what
// it dies of, that line and what follows are kept instead: a fatal error can
// print hundreds of lines of goroutines, and the first ones matter.
type lastWords struct {
	mu    sync.Mutex
	text  []byte
	line  []byte // not yet ended
	inner bool   // line goes on an earlier part of the same line
	died  bool   // text holds the cause
	fatal bool   // and it is one that prints every goroutine

	enough func() // called once fatal and full: what follows is of no use
}

// ReadFrom reads r to its end.
func (w *lastWords) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{w}, r) }

func (w *lastWords) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range bytes.SplitAfter(p, []byte("\n")) {
		for len(b) > 0 {
			n := min(len(b), maxLine-len(w.line))
			w.line = append(w.line, b[:n]...)
			b = b[n:]
			if ended := w.line[len(w.line)-1] == '\n'; ended || len(w.line) == maxLine {
				w.take()
				w.line, w.inner = w.line[:0], !ended
			}
		}
	}
	return len(p), nil
}

func (w *lastWords) take() {
	w.fatal = w.fatal || (!w.inner && bytes.HasPrefix(w.line, []byte(fatal)))
	w.text, w.died = w.with(w.line)
	if w.fatal && len(w.text) == maxWords && w.enough != nil {
		w.enough()
		w.enough = nil
	}
}

// with is the text, and whether it holds the cause, once line has come.
func (w *lastWords) with(line []byte) ([]byte, bool) {
	text, died := w.text, w.died
	if !died && !w.inner && startsDying(line) {
		text, died = end(text, maxBefore), true
	}
	if died {
		return append(text, line[:min(len(line), maxWords-len(text))]...), true
	}
	return end(append(text, line...), maxWords), false
}

func startsDying(line []byte) bool {
	for _, start := range dying {
		if bytes.HasPrefix(line, []byte(start)) {
			return true
		}
	}
	return ofRaceDetector.Match(line)
}

// end is the last n bytes of text, moved to its front.
func end(text []byte, n int) []byte {
	if len(text) <= n {
		return text
	}
	return text[:copy(text, text[len(text)-n:])]
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.text
	if len(w.line) > 0 {
		whole := lastWords{text: bytes.Clone(w.text), inner: w.inner, died: w.died}
		text, _ = whole.with(w.line)
	}
	return strings.ToValidUTF8(string(text), "�")
}

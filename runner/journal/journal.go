package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A Journal takes events from any goroutine and writes them in order. Record
// never waits for the disk: the watcher's loop sends the agent's heartbeat, and
// a slow disk must not look like a dead supervisor.
type Journal struct {
	began time.Time
	file  *os.File
	each  func(Event)
	hide  func(data any) any

	mu     sync.Mutex
	events []Event // everything, for the fold at the end
	todo   []Event // not yet written
	wake   chan struct{}
	closed bool
	err    error

	failed chan struct{} // closed at the first failed write
	done   chan struct{}
}

// Create makes the journal at path, which must not exist. each is called for
// every event in order, on the writer's goroutine; it may be nil.
func Create(path string, began time.Time, each func(Event)) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{
		began: began, file: file, each: each,
		wake: make(chan struct{}, 1), failed: make(chan struct{}), done: make(chan struct{}),
	}
	go j.write()
	return j, nil
}

// Hide has all that is recorded from now on go through f first, which gives back
// a value of the same type. It is called before the first Record.
func (j *Journal) Hide(f func(data any) any) { j.hide = f }

// Record adds an event that happened now. data is one of the structs in Kinds.
func (j *Journal) Record(data any) {
	now := time.Now()
	kind, data := kindOf(data)
	if j.hide != nil {
		data = j.hide(data)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	e := Event{T: now, At: now.Sub(j.began).Seconds(), Kind: kind, Data: data}
	j.events = append(j.events, e)
	j.todo = append(j.todo, e)
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Events returns what was recorded so far. It does not depend on the disk.
func (j *Journal) Events() []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]Event(nil), j.events...)
}

// Failed is closed once a write has failed: what follows is evidence that
// nobody will have, so a run should end. Err says why.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err is the first failed write.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Close writes what waits, syncs and closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
	<-j.done
	err := j.Err()
	if err == nil {
		if syncErr := j.file.Sync(); syncErr != nil {
			err = fmt.Errorf("journal: %w", syncErr)
		}
	}
	return errors.Join(err, j.file.Close())
}

func (j *Journal) write() {
	defer close(j.done)
	for range j.wake {
		j.mu.Lock()
		batch, closed := j.todo, j.closed
		j.todo = nil
		j.mu.Unlock()
		if err := j.append(batch); err != nil {
			j.fail(err)
		}
		if closed {
			return
		}
	}
}

func (j *Journal) append(batch []Event) error {
	var buf bytes.Buffer
	for _, e := range batch {
		if j.each != nil {
			j.each(e)
		}
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("journal: %s: %w", e.Kind, err)
		}
		buf.Write(line)
		buf.WriteByte('\n')
	}
	if j.Err() != nil {
		return nil // a torn line followed by whole ones would read as damage
	}
	if _, err := j.file.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (j *Journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = err
		close(j.failed)
	}
}

// maxLine bounds one event, so that reading a damaged file stays small.
const maxLine = 16 << 20

// Read returns the events of a journal. A last line that was cut off is left
// out; any other damage is an error, with the events before it.
func Read(r io.Reader) ([]Event, error) {
	var events []Event
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return events, nil // an unfinished last line: the writer died in it
		}
		if err != nil {
			return events, fmt.Errorf("journal: line %d: %w", n, err)
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return events, fmt.Errorf("journal: line %d: %w", n, err)
		}
		events = append(events, e)
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line) > maxLine {
			return nil, fmt.Errorf("got more than %d bytes", maxLine)
		}
	}
}

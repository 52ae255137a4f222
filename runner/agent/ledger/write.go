package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"chaosrunner/runner/agent/failpoint"
	"chaosrunner/runner/protocol"
)

const (
	perRecord = 4 << 10           // an applied, undoing, undone or stuck record is no longer
	perFault  = 5 * perRecord     // that follow an intent: a retried undo writes some twice
	perRun    = 4 * perRecord     // closed, rolled, reported
	maxText   = perRecord / 4 / 2 // of an error or a note; JSON may escape each byte

	softTimeout = 300 * time.Millisecond
)

// A Ledger is an open one, whose flock is ours.
type Ledger struct {
	path string

	mu     sync.Mutex
	file   *os.File
	end    int64           // where the next record goes
	room   int64           // up to where the file system has promised room
	in     map[string]bool // faults whose room is still reserved
	broken error           // an fsync failed: nothing more can be promised
}

// Path is where it lies.
func (l *Ledger) Path() string { return l.path }

// Intent puts a fault on disk, with room for all that will be said of it.
// After an error nothing may be injected.
func (l *Ledger) Intent(i Intent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in[i.ID] = true
	err := l.durable(record{What: intent, At: i.At, Intent: &i})
	if err != nil {
		delete(l.in, i.ID)
		return fmt.Errorf("ledger: the remedy of %s cannot be put on disk, so nothing was injected: %w", i.ID, err)
	}
	return nil
}

// Rollback puts a script's rollback on disk.
func (l *Ledger) Rollback(raw json.RawMessage) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.durable(record{What: rollback, At: time.Now(), Rollback: raw}); err != nil {
		return fmt.Errorf("ledger: the rollback cannot be put on disk: %w", err)
	}
	return nil
}

// Rolling records that a script's rollback begins, durably: one that is not on
// record as begun has not run.
func (l *Ledger) Rolling(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.durable(record{What: rolling, At: time.Now(), ID: id}); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Rolled records that a script's rollback has run, durably: it may not be
// idempotent.
func (l *Ledger) Rolled(id, failure string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.durable(record{What: rolled, At: time.Now(), ID: id, Text: clip(failure)}); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Applied records that a fault is seen in place.
func (l *Ledger) Applied(id string) error { return l.soft(record{What: applied, ID: id}) }

// Undoing records that the undo of a fault begins.
func (l *Ledger) Undoing(id string) error { return l.soft(record{What: undoing, ID: id}) }

// Closed records that the epoch has ended.
func (l *Ledger) Closed(reason string) error { return l.soft(record{What: closed, Text: clip(reason)}) }

// Reported records that a start was told of this ledger.
func (l *Ledger) Reported() error { return l.soft(record{What: reported}) }

// Undone records what became of an undo: the fault is out, or stuck.
func (l *Ledger) Undone(r protocol.UndoResult) error {
	r.Error, r.Note = clip(r.Error), clip(r.Note)
	what := undone
	if r.Error != "" {
		what = stuck
	}
	return l.soft(record{What: what, ID: r.ID, Result: &r})
}

// soft appends without fsync, and does not wait long for it: an undo must not
// stand behind a disk that hangs. What is late is written when it can be.
func (l *Ledger) soft(r record) error {
	r.At = time.Now()
	line, err := encode(r)
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	go func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		err := l.write(line)
		if err == nil && r.What == undone {
			delete(l.in, r.ID)
		}
		written <- err
	}()
	late := time.NewTimer(softTimeout)
	defer late.Stop()
	select {
	case err = <-written:
	case <-late.C:
		err = fmt.Errorf("the disk has not taken it for %v", softTimeout)
	}
	if err != nil {
		return fmt.Errorf("ledger: write %s of %s: %w", r.What, r.ID, err)
	}
	return nil
}

// durable appends, and returns once the record and the room for what will
// follow it are on disk. After an error the record is not there.
func (l *Ledger) durable(r record) error {
	if l.broken != nil {
		return l.broken
	}
	line, err := encode(r)
	if err != nil {
		return err
	}
	if err := l.reserve(l.end + int64(len(line)) + perRun + int64(len(l.in))*perFault); err != nil {
		return err
	}
	before := l.end
	if err = l.write(line); err == nil {
		failpoint.Hit("before-fsync-" + r.What)
		if err = datasync(l.file); err != nil {
			// What an fsync has failed to write is not tried again by the next.
			l.broken = fmt.Errorf("fsync: %w", err)
		}
	}
	if err != nil {
		l.end = before
		// Zeros, since a truncate would free the room of the faults before it.
		_, again := l.file.WriteAt(make([]byte, len(line)), before)
		return errors.Join(err, again)
	}
	return nil
}

func (l *Ledger) write(line []byte) error {
	if l.file == nil {
		return os.ErrClosed
	}
	if _, err := l.file.WriteAt(line, l.end); err != nil {
		return err
	}
	l.end += int64(len(line))
	return nil
}

func clip(text string) string {
	if len(text) > maxText {
		return text[:maxText] + "…"
	}
	return text
}

// Close lets the ledger go; the file stays.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.close()
}

func (l *Ledger) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close() // drops the flock
	l.file = nil
	return err
}

// Remove ends the ledger: its run is over and everything is out.
func (l *Ledger) Remove() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	if err := os.Remove(l.path); err != nil {
		return errors.Join(fmt.Errorf("ledger: %w", err), l.close())
	}
	return errors.Join(syncDir(l.path), l.close())
}

// SetAside ends a ledger that was damaged, but keeps its bytes for people under
// the name it returns.
func (l *Ledger) SetAside() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return "", os.ErrClosed
	}
	to := fmt.Sprintf("%s.damaged-%d", l.path, time.Now().Unix())
	if err := os.Rename(l.path, to); err != nil {
		return "", errors.Join(fmt.Errorf("ledger: %w", err), l.close())
	}
	return to, errors.Join(syncDir(l.path), l.close())
}

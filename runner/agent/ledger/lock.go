package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is who has an engine's lock.
type Holder struct {
	Run   string    `json:"run"`
	PID   int       `json:"pid"`
	Began time.Time `json:"began"`
}

// A Lock is an engine's, held.
type Lock struct{ file *os.File }

// BusyError says who holds the engine.
type BusyError struct{ Holder Holder }

func (e *BusyError) Error() string {
	if e.Holder.Run == "" {
		return "another run holds this engine: see `runner status`, or end it with `runner stop`"
	}
	return fmt.Sprintf("run %s (agent pid %d, for %v) holds this engine: wait for it, see `runner status`, "+
		"or end it with `runner stop %s`", e.Holder.Run, e.Holder.PID,
		time.Since(e.Holder.Began).Round(time.Second), e.Holder.Run)
}

// TakeLock takes the lock in dir for h, or fails with a BusyError. The file is
// never removed: a lock on a removed file excludes nobody.
func TakeLock(dir string, h Holder) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		defer f.Close() //nolint:errcheck // read only
		if err != unix.EWOULDBLOCK {
			return nil, fmt.Errorf("ledger: lock %s: %w", f.Name(), err)
		}
		busy := &BusyError{}
		_ = json.NewDecoder(f).Decode(&busy.Holder) // without it the error is still an error
		return nil, busy
	}
	line, err := json.Marshal(h)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(append(line, '\n'), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ledger: write %s: %w", f.Name(), err), f.Close())
	}
	return &Lock{f}, nil
}

// Release lets the engine go.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	err := l.file.Truncate(0)
	return errors.Join(err, l.file.Close())
}

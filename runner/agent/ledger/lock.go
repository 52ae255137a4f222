package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is the run that has a lock.
type Holder struct {
	Run   string    `json:"run"`
	PID   int       `json:"pid"`
	Began time.Time `json:"began"`
}

func (h Holder) String() string {
	return fmt.Sprintf("run %s (agent pid %d, for %v)", h.Run, h.PID, time.Since(h.Began).Round(time.Second))
}

// A Lock is an engine's or a target's, held.
type Lock struct {
	file   *os.File
	remove bool // its file goes with it
}

// BusyError says who holds what is asked for.
type BusyError struct {
	What    string // "this engine", "container web"
	Holders []Holder
}

func (e *BusyError) Error() string {
	if len(e.Holders) == 0 {
		return "another run holds " + e.What + ": see `runner status`, or end it with `runner stop`"
	}
	names, ends := make([]string, len(e.Holders)), make([]string, len(e.Holders))
	for i, h := range e.Holders {
		names[i], ends[i] = h.String(), "`runner stop "+h.Run+"`"
	}
	verb := "holds"
	if len(names) > 1 {
		verb = "share"
	}
	return fmt.Sprintf("%s %s %s: wait, see `runner status`, or end it with %s",
		strings.Join(names, ", "), verb, e.What, strings.Join(ends, ", "))
}

// TakeLock takes the engine's lock in dir for h, alone or shared with other
// runs that share it, or fails with a BusyError. The file is never removed: a
// lock on a removed file excludes nobody. It names who has it alone; of those
// that share it their ledgers tell.
func TakeLock(dir string, h Holder, shared bool) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	if err := flock(f, how); err != nil {
		defer f.Close() //nolint:errcheck // read only
		if err != unix.EWOULDBLOCK {
			return nil, fmt.Errorf("ledger: lock %s: %w", f.Name(), err)
		}
		busy := &BusyError{What: "this engine", Holders: holder(f)}
		if busy.Holders == nil {
			busy.Holders = living(dir)
		}
		return nil, busy
	}
	if shared {
		err = f.Truncate(0) // what one that was killed has left
	} else {
		sweep(dir)
		err = name(f, h)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ledger: write %s: %w", f.Name(), err), f.Close())
	}
	return &Lock{file: f}, nil
}

// TakeTarget takes one target for a run that shares its engine, or fails with a
// BusyError. Its file goes with the lock: whoever has opened it meanwhile finds
// that its name is another file's, and asks again.
func TakeTarget(dir, id, called string, h Holder) (*Lock, error) {
	path := filepath.Join(dir, "target-"+fileName(id)+".lock")
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		err = flock(f, unix.LOCK_EX)
		switch {
		case err == unix.EWOULDBLOCK:
			busy := &BusyError{What: called, Holders: holder(f)}
			return nil, errors.Join(busy, f.Close())
		case err != nil:
			return nil, errors.Join(fmt.Errorf("ledger: lock %s: %w", path, err), f.Close())
		case !names(path, f):
			_ = f.Close() // nothing was written to it
			continue
		}
		l := &Lock{file: f, remove: true}
		if err := name(f, h); err != nil {
			return nil, errors.Join(fmt.Errorf("ledger: write %s: %w", path, err), l.Release())
		}
		return l, nil
	}
}

// name writes who has a lock, for those who do not get it.
func name(f *os.File, h Holder) error {
	line, err := json.Marshal(h)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(append(line, '\n'), 0)
	}
	return err
}

// holder is who has a lock, if its file tells.
func holder(f *os.File) []Holder {
	var h Holder
	if json.NewDecoder(f).Decode(&h) != nil || h.Run == "" {
		return nil
	}
	return []Holder{h}
}

// living are the runs in dir that have not ended.
func living(dir string) (all []Holder) {
	paths, _ := List(dir) // without it the refusal is still a refusal
	for _, path := range paths {
		if c, alive, err := Read(path); err == nil && alive && c.Closed == "" {
			all = append(all, Holder{Run: c.Header.Run, PID: c.Header.Process.PID, Began: c.Header.Began})
		}
	}
	return all
}

// sweep removes the unfinished ledgers of agents that died in [Create]. Who has
// the engine alone knows that nobody is at it.
func sweep(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, ".new-*"))
	for _, path := range old {
		_ = os.Remove(path)
	}
}

// Release lets the engine, or the target, go.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	if l.remove { // under the lock, so that it is nobody else's
		return errors.Join(os.Remove(l.file.Name()), l.file.Close())
	}
	err := l.file.Truncate(0)
	return errors.Join(err, l.file.Close())
}

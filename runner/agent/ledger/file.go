package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrAlive is what Open says of a ledger whose agent lives.
var ErrAlive = errors.New("ledger: its agent is alive")

const suffix = ".ledger"

var runName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Dir is the folder of an engine's ledgers; state is Default when empty.
func Dir(state, engineID string) string {
	if state == "" {
		state = Default
	}
	return filepath.Join(state, fileName(engineID))
}

// fileName makes an id a file's name.
func fileName(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, id)
}

// MakeDir makes the folder of an engine's ledgers, for root's eyes only.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("ledger: %w: run as root, or name another folder with --state", err)
	}
	return syncDir(dir) // the name of dir itself
}

// Create makes the ledger of a new run. It appears under its name with its
// header in it and its flock taken, so that no one can take it for a dead one.
// The caller holds the engine's lock, alone or shared.
func Create(dir string, h Header) (*Ledger, error) {
	if !runName.MatchString(h.Run) {
		return nil, fmt.Errorf("ledger: got run %q, want letters, digits, '.', '_' and '-', at most 128", h.Run)
	}
	path := filepath.Join(dir, h.Run+suffix)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{path: path, file: f, in: map[string]bool{}}
	err = flock(f, unix.LOCK_EX)
	if err == nil {
		err = l.durable(record{What: header, At: h.Began, Header: &h})
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		if err == unix.EINVAL || err == unix.ENOSYS { // a file system without it
			if err = os.Link(f.Name(), path); err == nil {
				_ = os.Remove(f.Name())
			}
		}
	}
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		if errors.Is(err, os.ErrExist) {
			err = fmt.Errorf("run %s has a ledger already: %w", h.Run, err)
		}
		return nil, errors.Join(fmt.Errorf("ledger: cannot make %s: %w", path, err), l.close())
	}
	return l, nil
}

// Open takes the ledger of a dead agent. It fails with ErrAlive if its agent
// lives, and with fs.ErrNotExist if it has just been settled by somebody else.
func Open(path string) (*Ledger, Contents, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, Contents{}, fmt.Errorf("ledger: %w", err)
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		_ = f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, Contents{}, ErrAlive
		}
		return nil, Contents{}, fmt.Errorf("ledger: lock %s: %w", path, err)
	}
	if !names(path, f) {
		_ = f.Close()
		return nil, Contents{}, fmt.Errorf("ledger: %s: %w", path, os.ErrNotExist)
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		_ = f.Close()
		return nil, Contents{}, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{path: path, file: f, in: map[string]bool{}}
	for l.end = int64(len(raw)); l.end > 0 && raw[l.end-1] == 0; l.end-- {
	}
	c := replay(raw)
	c.named(path)
	return l, c, nil
}

// A View is a ledger being read without being taken. It outlives the ledger's
// removal.
type View struct {
	path string
	file *os.File
}

// Look opens a ledger for reading.
func Look(path string) (*View, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return &View{path, f}, nil
}

// Read reads it as it is now; alive says whether its agent lives.
func (v *View) Read() (c Contents, alive bool, err error) {
	raw, err := io.ReadAll(io.NewSectionReader(v.file, 0, 1<<40))
	if err != nil {
		return c, false, fmt.Errorf("ledger: %w", err)
	}
	c = replay(raw)
	c.named(v.path)
	return c, held(v.file), nil
}

// Close ends the view.
func (v *View) Close() { _ = v.file.Close() } // read only

// Read reads a ledger once.
func Read(path string) (c Contents, alive bool, err error) {
	v, err := Look(path)
	if err != nil {
		return c, false, err
	}
	defer v.Close()
	return v.Read()
}

// named fills in what a damaged header has lost.
func (c *Contents) named(path string) {
	if c.Header.Run == "" {
		c.Header.Run = strings.TrimSuffix(filepath.Base(path), suffix)
		if c.Damage == "" {
			c.Damage = "it has no header"
		}
	}
}

// List has the paths of all ledgers in a folder, newest first.
func List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	age := map[string]time.Time{}
	var paths []string
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && strings.HasSuffix(e.Name(), suffix) {
			path := filepath.Join(dir, e.Name())
			age[path] = info.ModTime()
			paths = append(paths, path)
		}
	}
	slices.SortStableFunc(paths, func(a, b string) int { return age[b].Compare(age[a]) })
	return paths, nil
}

// flock takes the lock or fails with EWOULDBLOCK. It tries for a moment: a
// reader that asks whether we live holds it for an instant.
func flock(f *os.File, how int) error {
	for i := 0; ; i++ {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == unix.EINTR {
			continue
		}
		if err != unix.EWOULDBLOCK || i == 5 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// held says whether somebody has the file's lock.
func held(f *os.File) bool {
	err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
	return err == unix.EWOULDBLOCK
}

// names says whether path still is the file f, and not removed or replaced.
func names(path string, f *os.File) bool {
	there, err1 := os.Stat(path)
	ours, err2 := f.Stat()
	return err1 == nil && err2 == nil && os.SameFile(there, ours)
}

// syncDir puts the name of path on disk.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer d.Close() //nolint:errcheck // read only
	if err := d.Sync(); err != nil {
		return fmt.Errorf("ledger: fsync of the folder: %w", err)
	}
	return nil
}

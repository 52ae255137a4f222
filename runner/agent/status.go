package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"chaosrunner/runner/agent/ledger"
)

// RunStatus is one run that has a ledger.
type RunStatus struct {
	Run        string     `json:"run"`
	Name       string     `json:"name,omitempty"` // the experiment's
	Engine     string     `json:"engine,omitempty"`
	Ledger     string     `json:"ledger"`
	Alive      bool       `json:"alive"`            // its agent lives
	Shared     bool       `json:"shared,omitempty"` // other runs may go on beside it
	PID        int        `json:"pid,omitempty"`
	Began      time.Time  `json:"began,omitzero"`
	Closed     string     `json:"closed,omitempty"` // why its epoch ended; empty: it has not
	In         []Injected `json:"in"`               // what is injected now
	Rollbacks  int        `json:"rollbacks,omitempty"`
	Damage     string     `json:"damage,omitempty"`
	Unreadable string     `json:"unreadable,omitempty"` // nothing else is known of it
}

// Injected is a fault that is in.
type Injected struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Target string    `json:"target"`
	Harm   string    `json:"harm"`
	Mend   string    `json:"mend"`
	Since  time.Time `json:"since"`
	Stuck  string    `json:"stuck,omitempty"` // why its last undo failed
}

// Status says what runs and what is injected now, on every engine that has
// ledgers under state. It touches nothing and needs no engine. The error names
// what cannot be read; what can be is returned with it.
func Status(state string) ([]RunStatus, error) {
	dirs, err := engineDirs(state)
	failed := []error{err}
	var all []RunStatus
	for _, dir := range dirs {
		paths, err := ledger.List(dir)
		if err != nil {
			failed = append(failed, unreadable(err))
			continue
		}
		for _, path := range paths {
			s, err := statusOf(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has just ended
			}
			if err != nil {
				s = RunStatus{Run: filepath.Base(path), Ledger: path, Unreadable: unreadable(err).Error()}
			}
			all = append(all, s)
		}
	}
	return all, errors.Join(failed...)
}

func statusOf(path string) (RunStatus, error) {
	c, alive, err := ledger.Read(path)
	if err != nil {
		return RunStatus{}, err
	}
	h := c.Header
	s := RunStatus{
		Run: h.Run, Name: h.Experiment.Name, Engine: h.Engine, Ledger: path, Alive: alive, Shared: h.Shared, PID: h.Process.PID,
		Began: h.Began, Closed: c.Closed, In: []Injected{}, Rollbacks: len(c.Rollbacks), Damage: c.Damage,
	}
	for _, f := range c.In() {
		i := Injected{ID: f.Intent.ID, Kind: f.Intent.Kind, Target: f.Intent.Target.Name, Harm: f.Intent.Harm, Mend: f.Intent.Mend, Since: f.Intent.At}
		if f.Result != nil {
			i.Stuck = f.Result.Error
		}
		s.In = append(s.In, i)
	}
	return s, nil
}

// engineDirs has the folder of each engine under state.
func engineDirs(state string) ([]string, error) {
	state = cmp.Or(state, ledger.Default)
	entries, err := os.ReadDir(state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(err)
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(state, e.Name()))
		}
	}
	return dirs, nil
}

func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: ledgers are for the user who runs experiments; run as root", err)
	}
	return err
}

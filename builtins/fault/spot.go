package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"chaosrunner/builtins/fault/mounts"
)

// A spot is a folder of a target on whose file system a fault acts, as Prepare
// found it. It stands in the ledger.
type spot struct {
	subject
	Device string       `json:"device"` // of the file system, as major:minor
	Type   string       `json:"type"`
	Inode  uint64       `json:"inode"` // of the folder
	Before mounts.Usage `json:"before"`
	// Root: whoever runs in the target may use what the file system keeps for root.
	Root  bool       `json:"root,omitempty"`
	Hosts []hostPath `json:"hosts,omitempty"` // where the folder is on the engine's host
}

// find holds the folder: the pidfd first, a second inspect, then the root, and
// under that the path. The caller closes both.
func (s *spot) find(ctx context.Context, w World, where string) (*mounts.Root, *mounts.Dir, error) {
	p, blind, err := s.grip(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	defer p.close()
	if p == nil {
		return nil, nil, refuse("cannot see the disks of %s: %v; run as root on the engine's host, or with --agent container", s.Target.Name, blind)
	}
	root, err := mounts.OpenRoot(p.pid)
	if err != nil {
		return nil, nil, refuse("cannot see the disks of %s: %v; run as root", s.Target.Name, err)
	}
	dir, err := root.Dir(where)
	if err == nil && !p.alive() { // else the root may be a stranger's with the same number
		dir.Close()
		err = fmt.Errorf("container %s has just ended by itself", s.Target.Name)
	}
	if err != nil {
		root.Close()
		return nil, nil, s.lacks(where, err)
	}
	return root, dir, nil
}

// lacks says what is wrong with a path.
func (s *spot) lacks(where string, err error) error {
	hint := err.Error()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = "there is no such folder in the container"
	case strings.Contains(err.Error(), "not a directory"):
		hint = "it is not a folder; name the folder that the file is in"
	case strings.Contains(err.Error(), "symbolic links"):
		hint = "it leads through a link of /proc, which may lead out of the container"
	}
	return refuse("path: got %q in %s: %s", where, s.Target.Name, hint)
}

// lookAt is subject.look with the folder, and refuses what no fault of a disk can
// act on. The caller closes the folder.
func (s *spot) lookAt(ctx context.Context, w World, t Target, where string) (container.InspectResponse, *mounts.Dir, error) {
	c, err := s.subject.look(ctx, w, t)
	if err != nil {
		return c, nil, err
	}
	root, dir, err := s.find(ctx, w, where)
	if err != nil {
		return c, nil, err
	}
	defer root.Close()
	u, err := mounts.UsageOf(dir.FD)
	m := dir.Mount
	switch {
	case err != nil:
	case u.Size == 0 || m.Type == "proc" || m.Type == "sysfs":
		err = refuse("path: got %q in %s, which is on %s: that has no room to take", where, t.Name, m.Type)
	case m.ReadOnly():
		err = refuse("path: got %q in %s, which is mounted read-only", where, t.Name)
	}
	if err != nil {
		dir.Close()
		return c, nil, err
	}
	s.Root = rootsOnly(t.PID, m.Option("resuid"))
	s.Device, s.Type, s.Inode, s.Before = m.Device, m.Type, dir.Inode, u.For(s.Root)
	s.Hosts = hostPaths(c, dir)
	return c, dir, nil
}

// again is find for Apply: it must be the folder that Prepare saw.
func (s *spot) again(ctx context.Context, w World, where string) (*mounts.Root, *mounts.Dir, error) {
	root, dir, err := s.find(ctx, w, where)
	if err == nil && !s.there(dir) {
		dir.Close()
		root.Close()
		err = fmt.Errorf("%s of %s is another folder by now", where, s.Target.Name)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	return root, dir, nil
}

func (s *spot) there(d *mounts.Dir) bool { return d.Mount.Device == s.Device && d.Inode == s.Inode }

// seen is how full the file system is, by the path that the target uses.
func (s *spot) seen(root *mounts.Root, where string) (mounts.Usage, error) {
	d, err := root.Dir(where)
	if err != nil {
		return mounts.Usage{}, err
	}
	defer d.Close()
	if !s.there(d) {
		return mounts.Usage{}, fmt.Errorf("%s of %s is on another file system by now (%s %s)", where, s.Target.Name, d.Mount.Type, d.Mount.Device)
	}
	u, err := mounts.UsageOf(d.FD)
	return u.For(s.Root), err
}

const unmounted = time.Second // between two looks whether the target still has the file system

// watch yields an error once the target, or the generation after it, has
// another file system at the path: the fault then harms nobody.
func (s *spot) watch(ctx context.Context, w World, root *mounts.Root, where string, lost chan<- error) {
	gen := *s
	for rest(ctx, unmounted) {
		c, err := inspect(ctx, w, gen.Target.ID)
		if err != nil || !up(c.State) {
			continue // a full disk may well have ended it
		}
		if c.State.StartedAt == s.Target.StartedAt {
			_, err = s.seen(root, where)
		} else {
			gen.Target.StartedAt, gen.Target.PID = c.State.StartedAt, c.State.Pid
			err = gen.seenAgain(ctx, w, where)
		}
		if err != nil && ctx.Err() == nil {
			c, again := inspect(ctx, w, gen.Target.ID)
			if again != nil || !up(c.State) || c.State.StartedAt != gen.Target.StartedAt {
				continue // it has ended meanwhile
			}
			select {
			case lost <- fmt.Errorf("%w: the fault harms nobody any more", err):
			default:
			}
			return
		}
	}
}

func (s *spot) seenAgain(ctx context.Context, w World, where string) error {
	root, dir, err := s.find(ctx, w, where)
	if err != nil {
		return err
	}
	defer root.Close()
	defer dir.Close()
	if !s.there(dir) {
		return fmt.Errorf("%s was restarted and has another file system at %s (%s %s)", s.Target.Name, where, dir.Mount.Type, dir.Mount.Device)
	}
	return nil
}

// rootsOnly says whether every process beside pid in its PID namespace runs as
// the user for whom the file system keeps a reserve: one that does not sees the
// disk full before root does.
func rootsOnly(pid int, reserved string) bool {
	if reserved == "" {
		reserved = "0"
	}
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		return false
	}
	procs, _ := os.ReadDir("/proc")
	found := false
	for _, p := range procs {
		if at, err := os.Readlink(path.Join("/proc", p.Name(), "ns/pid")); err != nil || at != space {
			continue
		}
		raw, err := os.ReadFile(path.Join("/proc", p.Name(), "status"))
		if err != nil {
			continue // it has just ended
		}
		for line := range strings.Lines(string(raw)) {
			if uids, ok := strings.CutPrefix(line, "Uid:"); ok {
				if ids := strings.Fields(uids); len(ids) < 4 || ids[3] != reserved {
					return false
				}
				found = true
			}
		}
	}
	return found
}

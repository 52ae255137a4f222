package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/mounts"
)

// A hostPath is a target's folder on the engine's host, where it stays when the
// target is gone.
type hostPath struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode"` // else the file system is not mounted there now
}

// hosts are processes that may see the engine's host whole, the likeliest
// first: whoever holds the target for the engine, this one, and the first one.
func hosts(target int) (pids []int) {
	if st, err := status(target); err == nil {
		if parent, _ := strconv.Atoi(st["PPid"]); parent > 1 {
			pids = append(pids, parent)
		}
	}
	return append(pids, os.Getpid(), 1)
}

// hostPaths are the paths by which the host has the folder; none where that
// cannot be seen.
func hostPaths(c container.InspectResponse, dir *mounts.Dir) (all []hostPath) {
	pids := hosts(c.State.Pid)
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir.FD))
	if err != nil {
		return nil
	}
	inner, ok := below(name, dir.Mount.Point)
	if !ok {
		return nil
	}
	var candidates []string
	if dir.Mount.Point == "/" && c.GraphDriver.Data["UpperDir"] != "" {
		candidates = append(candidates, path.Join(c.GraphDriver.Data["UpperDir"], inner))
	}
	there, _ := mounts.Of(pids[0])
	for _, m := range there {
		if rest, ok := below(path.Join(dir.Mount.Root, inner), m.Root); ok && m.Device == dir.Mount.Device {
			candidates = append(candidates, path.Join(m.Point, rest))
		}
	}
	for _, p := range candidates {
		if d, err := onHost(pids, p, 0); err == nil {
			all = append(all, hostPath{Path: p, Inode: d.Inode})
			d.Close()
		}
		if len(all) == 3 { // a ledger's record is no place for a hundred mounts
			break
		}
	}
	return all
}

// onHost holds a folder of the host; the one with that inode, if it is given.
func onHost(pids []int, name string, inode uint64) (*mounts.Dir, error) {
	var why error
	for _, pid := range pids {
		root, err := mounts.OpenRoot(pid)
		if err != nil {
			why = errors.Join(why, err)
			continue
		}
		d, err := root.Dir(name)
		root.Close()
		if err == nil && (inode == 0 || d.Inode == inode) {
			return d, nil
		}
		if err == nil {
			d.Close()
			err = fmt.Errorf("%s is not mounted now", name)
		}
		why = errors.Join(why, err)
	}
	return nil, why
}

// below is name's path under dir.
func below(name, dir string) (string, bool) {
	if dir == "/" {
		return strings.TrimPrefix(name, "/"), true
	}
	rest, ok := strings.CutPrefix(name, dir)
	return strings.TrimPrefix(rest, "/"), ok && (rest == "" || rest[0] == '/')
}

// unlink removes what Apply has put under a name of ours into the folder: as
// the host has it, else as the target does.
func (s *spot) unlink(ctx context.Context, w World, where, name string, remove func(dir int, name string) error) (string, error) {
	reached, err := s.removeOnHost(name, remove)
	if reached {
		return nothing(err)
	}
	c, away := inspect(ctx, w, s.Target.ID)
	if s.Type == "tmpfs" && len(s.Hosts) == 0 && (errdefs.IsNotFound(away) || away == nil && (!up(c.State) || c.State.StartedAt != s.Target.StartedAt)) {
		return "it was in memory, which is gone with the target", nil
	}
	switch {
	case errdefs.IsNotFound(away) && len(s.Hosts) > 0 && errors.Is(err, fs.ErrNotExist):
		return "the container is gone, and its files with it", nil
	case errdefs.IsNotFound(away):
		return "", errors.Join(fmt.Errorf("%s cannot be looked for: the container is gone", name), err)
	case away != nil:
		return "", away
	case !up(c.State):
		return "", errors.Join(fmt.Errorf("%s cannot be reached while %s is down: docker start %s", name, s.Target.Name, s.Target.Name), err)
	}
	next := *s
	next.Target.StartedAt, next.Target.PID = c.State.StartedAt, c.State.Pid
	root, dir, err := next.find(ctx, w, where)
	if err != nil {
		return "", err
	}
	defer root.Close()
	defer dir.Close()
	return nothing(remove(dir.FD, name))
}

func nothing(err error) (string, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return "there was nothing of it", nil
	}
	return "", err
}

// removeOnHost says whether the folder could be reached, and what came of it.
func (s *spot) removeOnHost(name string, remove func(dir int, name string) error) (reached bool, err error) {
	for _, h := range s.Hosts {
		d, e := onHost(hosts(s.Target.PID), h.Path, h.Inode)
		if e == nil {
			e = remove(d.FD, name)
			d.Close()
			return true, e
		}
		err = errors.Join(err, e)
	}
	return false, err
}

// mend is the command that removes a name of ours by hand.
func (s *spot) mend(command, where, name string) string {
	if len(s.Hosts) > 0 {
		return fmt.Sprintf("%s '%s'", command, strings.ReplaceAll(path.Join(s.Hosts[0].Path, name), "'", `'\''`))
	}
	return fmt.Sprintf("docker exec %s %s '%s'", s.Target.Name, command, strings.ReplaceAll(path.Join(where, name), "'", `'\''`))
}

// removeFile removes a file of ours, and nothing else.
func removeFile(dir int, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s is no file: it is not ours", name)
	}
	if err == nil {
		err = unix.Unlinkat(dir, name, 0)
	}
	if err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}

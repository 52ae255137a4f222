// Package cgroups reads and sets how fast a cgroup may read and write a disk,
// by both versions of the kernel's interface.
//
//	version 1   blkio.throttle.write_bps_device   "8:0 1048576"        0 takes it away
//	version 2   io.max                            "8:0 wbps=1048576"   max takes it away
package cgroups

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/mounts"
)

// Keys are what can be limited: bytes and operations a second.
var Keys = []string{"read_bps", "write_bps", "read_iops", "write_iops"}

var (
	second = map[string]string{"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}
	counts = map[string]string{"read_bps": "rbytes", "write_bps": "wbytes", "read_iops": "rios", "write_iops": "wios"}
)

// A Group is a process's cgroup for disks, held open.
type Group struct {
	Version int
	Path    string // on the host
	dir     int
}

// Of holds the cgroup of process pid. One of hosts must see the host's cgroup
// file systems.
func Of(pid int, hosts []int) (*Group, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	version, inner := which(string(raw))
	if version == 0 {
		return nil, errors.New("it is in no cgroup that limits disks")
	}
	for _, h := range hosts {
		g, e := open(h, version, inner)
		if e == nil {
			return g, nil
		}
		err = errors.Join(err, e)
	}
	return nil, err
}

// which finds the group in /proc/PID/cgroup. The controller is version 1's where
// that has it: a hierarchy of version 2 beside it has none then.
func which(groups string) (version int, inner string) {
	for line := range strings.Lines(groups) {
		col := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(col) < 3:
		case slices.Contains(strings.Split(col[1], ","), "blkio"):
			return 1, col[2]
		case col[0] == "0" && col[1] == "":
			version, inner = 2, col[2]
		}
	}
	return version, inner
}

func open(host, version int, inner string) (*Group, error) {
	all, err := mounts.Of(host)
	if err != nil {
		return nil, err
	}
	kind := map[int]string{1: "cgroup", 2: "cgroup2"}[version]
	for _, m := range all {
		rest, under := strings.CutPrefix(inner, strings.TrimSuffix(m.Root, "/"))
		if m.Type != kind || !under || version == 1 && !slices.Contains(strings.Split(m.Super, ","), "blkio") {
			continue
		}
		root, err := mounts.OpenRoot(host)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		d, err := root.Dir(path.Join(m.Point, rest))
		if err != nil {
			return nil, err
		}
		g := &Group{Version: version, Path: d.Path, dir: d.FD}
		if _, err := g.read(g.file("write_bps")); err != nil {
			g.Close()
			return nil, fmt.Errorf("the kernel limits no disks in %s: %w", path.Join(m.Point, rest), err)
		}
		return g, nil
	}
	return nil, fmt.Errorf("no file system of cgroups, version %d, is mounted", version)
}

// Close lets it go.
func (g *Group) Close() { _ = unix.Close(g.dir) } // nothing was written to it

func (g *Group) file(key string) string { return file(g.Version, key) }

func file(version int, key string) string {
	if version == 2 {
		return "io.max"
	}
	return "blkio.throttle." + key + "_device"
}

// line is what is written to set a limit; 0 takes it away.
func line(version int, device, key string, value int64) string {
	switch {
	case version == 1:
		return fmt.Sprintf("%s %d", device, value)
	case value == 0:
		return fmt.Sprintf("%s %s=max", device, second[key])
	}
	return fmt.Sprintf("%s %s=%d", device, second[key], value)
}

// Command is what sets a limit by hand.
func (g *Group) Command(device, key string, value int64) string {
	return fmt.Sprintf("echo '%s' > '%s'", line(g.Version, device, key, value), path.Join(g.Path, g.file(key)))
}

// Limit is what is set for a device; 0: nothing.
func (g *Group) Limit(device, key string) (int64, error) {
	text, err := g.read(g.file(key))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		col := strings.Fields(line)
		if len(col) < 2 || col[0] != device {
			continue
		}
		if g.Version == 1 {
			return strconv.ParseInt(col[1], 10, 64)
		}
		return field(col, second[key])
	}
	return 0, nil
}

// Set limits a device; 0 takes the limit away.
func (g *Group) Set(device, key string, value int64) error {
	f, err := g.open(g.file(key), unix.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line(g.Version, device, key, value))
	return errors.Join(err, f.Close())
}

// Count is what the group has read or written of a device so far.
func (g *Group) Count(device, key string) (int64, error) {
	name := "io.stat"
	if g.Version == 1 {
		name = map[string]string{"bps": "blkio.throttle.io_service_bytes", "iops": "blkio.throttle.io_serviced"}[key[strings.Index(key, "_")+1:]]
	}
	text, err := g.read(name)
	if err != nil {
		return 0, err
	}
	verb := map[bool]string{true: "Read", false: "Write"}[strings.HasPrefix(key, "read")]
	for line := range strings.Lines(text) {
		col := strings.Fields(line)
		switch {
		case len(col) < 2 || col[0] != device:
		case g.Version == 2:
			return field(col, counts[key])
		case len(col) == 3 && col[1] == verb:
			return strconv.ParseInt(col[2], 10, 64)
		}
	}
	return 0, nil
}

// field reads "wbps=1048576"; "max" is nothing.
func field(col []string, name string) (int64, error) {
	for _, c := range col[1:] {
		if value, ok := strings.CutPrefix(c, name+"="); ok && value != "max" {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, nil
}

func (g *Group) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(g.dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (g *Group) read(name string) (string, error) {
	f, err := g.open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // read only
	raw, err := io.ReadAll(f)
	return string(raw), err
}

// Disk is the whole disk under a device of major:minor: a part of one cannot be
// limited. Empty: it is no disk.
func Disk(device string) string {
	at, err := os.Readlink("/sys/dev/block/" + device)
	if err != nil {
		return ""
	}
	at = path.Join("/sys/dev/block", at)
	if _, err := os.Stat(path.Join(at, "partition")); err != nil {
		return device
	}
	raw, err := os.ReadFile(path.Join(path.Dir(at), "dev"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

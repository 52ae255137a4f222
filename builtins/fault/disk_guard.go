package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"

	"chaosrunner/builtins/fault/mounts"
)

type informer interface {
	Info(ctx context.Context) (system.Info, error)
}

// guard refuses a file system on which others live than the blast radius: the
// host, the engine, its other containers.
func (s *spot) guard(ctx context.Context, w World, dir *mounts.Dir, take int64, allowed bool) error {
	who, err := s.tenants(ctx, w, dir)
	if free := memory(); s.Type == "tmpfs" && take > free/2 {
		who = append(who, fmt.Sprintf("the host's memory, of which %s are available", size(free)))
	}
	if err != nil {
		return err
	}
	if len(who) == 0 {
		return nil
	}
	shown := strings.Join(who[:min(len(who), 6)], ", ")
	if more := len(who) - 6; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	if !allowed {
		return refuse("path: %s of %s is on %s %s, where others live too: %s; give the service a volume of its own size:\n%s"+
			"or write allow_host_disk = True where all of these may be harmed",
			dir.Path, s.Target.Name, dir.Mount.Type, dir.Mount.Source, shown, ownVolume(s.Target, dir.Path))
	}
	if err := w.Allows().HostDisk(); err != nil {
		return refuse("allow_host_disk: %v; %s of %s is on %s %s, where others live too: %s",
			err, dir.Path, s.Target.Name, dir.Mount.Type, dir.Mount.Source, shown)
	}
	return nil
}

// memory is what the host has available, in bytes.
func memory() (n int64) {
	raw, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(raw)) {
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &n); err == nil {
			return n << 10
		}
	}
	return 0
}

// ownVolume has the lines that give a Compose service a volume of its own size.
func ownVolume(t Target, where string) string {
	service := t.Service
	if service == "" {
		service = t.Name
	}
	return fmt.Sprintf(`  services:
    %s:
      volumes: ["own:%s"]
  volumes:
    own:
      driver_opts: {type: tmpfs, device: tmpfs, o: "size=256m"}   # empty again after each stop
      # or, to outlive that: truncate -s 1G own.img; mkfs.ext4 own.img; losetup --show -f own.img
      # driver_opts: {type: ext4, device: /dev/loopN}
`, service, where)
}

// ownPlaces are file systems that are the host's own wherever they are mounted
// besides: its services live there.
var ownPlaces = []string{
	"/", "/boot", "/dev", "/dev/shm", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr",
	"/var", "/var/lib", "/var/log", "/var/tmp",
}

// tenants says what else lives on the folder's file system.
func (s *spot) tenants(ctx context.Context, w World, dir *mounts.Dir) ([]string, error) {
	var info system.Info
	err := ask(ctx, inspectTimeout, "info", func(ctx context.Context) (err error) {
		info, err = w.Engine.Info(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	var data mounts.Mount
	var host int
	for _, host = range hosts(s.Target.PID) {
		if data, _, err = mounts.At(host, info.DockerRootDir); err == nil {
			break
		}
	}
	var all []mounts.Mount
	if err == nil {
		all, err = mounts.Of(host)
	}
	if err != nil {
		return nil, refuse("cannot see what else lives on the disk of %s: %v; run as root on the engine's host", s.Target.Name, err)
	}
	on, err := backing(dir.Mount, data, host)
	if err != nil {
		return nil, err
	}
	var who []string
	if slices.Contains(on, data.Device) {
		who = append(who, "the engine's data ("+info.DockerRootDir+")")
	}
	for _, m := range all {
		_, engines := below(m.Point, info.DockerRootDir)
		_, more := below(dir.Mount.Root, m.Root)
		switch {
		case !slices.Contains(on, m.Device), engines:
		case slices.Contains(ownPlaces, m.Point), more && m.Root != dir.Mount.Root:
			who = append(who, "the host itself ("+m.Point+")")
		}
	}
	others, err := s.neighbours(ctx, w, on, all)
	return append(slices.Compact(who), others...), err
}

// backing has the devices on which a mount's files lie in the end.
func backing(m, data mounts.Mount, host int) ([]string, error) {
	on := []string{m.Device}
	if m.Point == "/" { // an image's layers, and what was written over them
		on = append(on, data.Device)
	}
	if upper := m.Option("upperdir"); upper != "" && m.Point != "/" {
		below, _, err := mounts.At(host, upper)
		if err != nil {
			return nil, refuse("path: %s is an overlay over %s, which cannot be found: %v", m.Point, upper, err)
		}
		on = append(on, below.Device)
	}
	return on, nil
}

// neighbours are the running containers outside the blast radius that have the
// file system too.
func (s *spot) neighbours(ctx context.Context, w World, on []string, host []mounts.Mount) ([]string, error) {
	var list []container.Summary
	err := ask(ctx, inspectTimeout, "list", func(ctx context.Context) (err error) {
		list, err = w.Engine.ContainerList(ctx, container.ListOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	byID := processes()
	var who []string
	for _, other := range list {
		if other.ID == s.Target.ID || slices.Contains(w.Radius, other.ID) || len(other.Names) == 0 {
			continue
		}
		name := strings.TrimPrefix(other.Names[0], "/")
		has, err := settled(ctx, other.ID, byID, host)
		if err != nil {
			return nil, refuse("cannot see what container %s lives on: %v", name, err)
		}
		for _, m := range has {
			if slices.Contains(on, m.Device) && path.Dir(m.Point) != "/etc" { // /etc/hosts lies with the engine's data
				who = append(who, "container "+name)
				break
			}
		}
	}
	return who, nil
}

// settled is what a running container has mounted; nothing of one that has just
// ended. What the engine starts in a container, its first process or a health
// check, has the host's own mounts until it is in there, and with them every
// volume of this engine: it says nothing of the container.
func settled(ctx context.Context, id string, byID map[string][]int, host []mounts.Mount) ([]mounts.Mount, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	for {
		for _, pid := range byID[id] {
			if has, _ := mounts.Of(pid); len(has) > 0 && !sameRoot(has, host) {
				return has, nil
			}
		}
		if len(byID[id]) == 0 {
			return nil, nil
		}
		if !rest(ctx, poll) {
			return nil, errors.New("it is only starting; let it come up first")
		}
		byID = processes()
	}
}

// sameRoot says whether two processes have the same folder as their root.
func sameRoot(a, b []mounts.Mount) bool {
	root := func(all []mounts.Mount) (device, folder string) {
		for _, m := range all { // the last one lies on top
			if m.Point == "/" {
				device, folder = m.Device, m.Root
			}
		}
		return device, folder
	}
	da, fa := root(a)
	db, fb := root(b)
	return da == db && fa == fb
}

var longID = regexp.MustCompile(`[0-9a-f]{64}`)

// processes has those of each container. The engine is not asked for them: it
// does not answer for one that it is starting.
func processes() map[string][]int {
	byID := map[string][]int{}
	all, _ := os.ReadDir("/proc")
	for _, p := range all {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		groups, _ := os.ReadFile(path.Join("/proc", p.Name(), "cgroup"))
		if id := string(longID.Find(groups)); id != "" {
			byID[id] = append(byID[id], pid)
		}
	}
	return byID
}

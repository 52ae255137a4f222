package fault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/blkiodev"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/cgroups"
	"chaosrunner/builtins/fault/mounts"
)

// ThrottleIO makes a target's disk slow, by the limits of its cgroup: others on
// the same disk are as fast as before.
//
// With version 1 of cgroups the kernel limits reads, and writes that are direct
// or waited for (fsync); what it writes back later is nobody's.
type ThrottleIO struct {
	Path          string `json:"path,omitempty"`     // empty: of its one volume that is on a disk
	ReadBPS       int64  `json:"read_bps,omitempty"` // bytes a second
	WriteBPS      int64  `json:"write_bps,omitempty"`
	ReadIOPS      int64  `json:"read_iops,omitempty"` // operations a second
	WriteIOPS     int64  `json:"write_iops,omitempty"`
	AllowHostDisk bool   `json:"allow_host_disk,omitempty"`
}

// Validate implements [Params].
func (t *ThrottleIO) Validate() error {
	given := 0
	for _, key := range cgroups.Keys {
		switch n := t.limit(key); {
		case n < 0:
			return fmt.Errorf("%s: got %d, want a number above 0", key, n)
		case n > 0:
			given++
		}
	}
	if given == 0 {
		return fmt.Errorf("%s: got none of them, want at least one", strings.Join(cgroups.Keys, ", "))
	}
	if t.Path == "" {
		return nil
	}
	return absolute(t.Path)
}

func (t *ThrottleIO) limit(key string) int64 {
	return map[string]int64{"read_bps": t.ReadBPS, "write_bps": t.WriteBPS, "read_iops": t.ReadIOPS, "write_iops": t.WriteIOPS}[key]
}

type throttleIO struct {
	ThrottleIO
	spot
	Disk string            `json:"disk"`          // major:minor
	By   map[string]string `json:"by"`            // commands that give them back by hand
	Old  map[string]int64  `json:"old,omitempty"` // limits that the container has of its own

	since time.Time
	began map[string]int64 // what was read and written until then
	stop  context.CancelFunc
	done  sync.WaitGroup
	lost  chan error
	told  []Finding
}

func (t *throttleIO) Params() Params { return &t.ThrottleIO }

func (t *throttleIO) Prepare(ctx context.Context, w World, target Target) error {
	if t.Path == "" {
		var err error
		if t.Path, err = volume(target); err != nil {
			return err
		}
	}
	c, dir, err := t.lookAt(ctx, w, target, t.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if t.Disk, err = disk(dir.Mount, target.Name); err != nil {
		return err
	}
	g, err := cgroups.Of(target.PID, hosts(target.PID))
	if err != nil {
		return refuse("cannot limit the disks of %s: %v", target.Name, err)
	}
	defer g.Close()
	t.Old, t.By = map[string]int64{}, map[string]string{}
	for _, key := range cgroups.Keys {
		if t.limit(key) == 0 {
			continue
		}
		old, err := g.Limit(t.Disk, key)
		if err != nil {
			return err
		}
		if old != 0 && !ofItsOwn(c, key, old) {
			return refuse("%s: the disk of %s is limited to %d already, and not by its own configuration: is another throttle_io in?", key, target.Name, old)
		}
		t.Old[key], t.By[key] = old, g.Command(t.Disk, key, old)
	}
	return t.guard(ctx, w, dir, 0, t.AllowHostDisk)
}

// volume is where a target has its only file system on a disk of its own.
func volume(t Target) (string, error) {
	all, err := mounts.Of(t.PID)
	if err != nil {
		return "", refuse("cannot see the disks of %s: %v; run as root on the engine's host, or with --agent container", t.Name, err)
	}
	var points []string
	for _, m := range all {
		if m.Point != "/" && path.Dir(m.Point) != "/etc" && (cgroups.Disk(m.Device) != "" || m.Type == "btrfs") {
			points = append(points, m.Point)
		}
	}
	if len(points) != 1 {
		return "", refuse("path: %s has %d volumes on disks (%s): say which", t.Name, len(points), strings.Join(points, ", "))
	}
	return points[0], nil
}

// disk is what is under a mount; a file system without one cannot be limited.
func disk(m mounts.Mount, name string) (string, error) {
	device := m.Device
	var st unix.Stat_t
	if cgroups.Disk(device) == "" && strings.HasPrefix(m.Source, "/dev/") && unix.Stat(m.Source, &st) == nil { // btrfs
		device = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	if d := cgroups.Disk(device); d != "" {
		return d, nil
	}
	return "", refuse("path: %s of %s is on %s (%s), which is no disk of its own that the kernel could limit: name a volume on one", m.Point, name, m.Type, m.Source)
}

// ofItsOwn says whether a limit stands in the container's configuration.
func ofItsOwn(c container.InspectResponse, key string, limit int64) bool {
	if c.HostConfig == nil {
		return false
	}
	h := c.HostConfig
	switch key {
	case "read_bps":
		return anyRate(h.BlkioDeviceReadBps, limit)
	case "write_bps":
		return anyRate(h.BlkioDeviceWriteBps, limit)
	case "read_iops":
		return anyRate(h.BlkioDeviceReadIOps, limit)
	}
	return anyRate(h.BlkioDeviceWriteIOps, limit)
}

func anyRate(all []*blkiodev.ThrottleDevice, limit int64) bool {
	return slices.ContainsFunc(all, func(d *blkiodev.ThrottleDevice) bool { return d != nil && d.Rate == uint64(limit) })
}

func (t *throttleIO) Apply(ctx context.Context, w World) error {
	root, dir, err := t.again(ctx, w, t.Path)
	if err != nil {
		return err
	}
	dir.Close()
	root.Close()
	g, err := cgroups.Of(t.Target.PID, hosts(t.Target.PID))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	t.since, t.began = time.Now(), map[string]int64{}
	var text []string
	figures := map[string]float64{}
	for _, key := range cgroups.Keys {
		if t.limit(key) == 0 {
			continue
		}
		if t.began[key], err = g.Count(t.Disk, key); err == nil {
			err = g.Set(t.Disk, key, t.limit(key))
		}
		var got int64
		if err == nil {
			got, err = g.Limit(t.Disk, key)
		}
		if err == nil && got != t.limit(key) {
			err = fmt.Errorf("the kernel has %d, want %d", got, t.limit(key))
		}
		if err != nil {
			g.Close()
			return fmt.Errorf("%s: %w", key, err)
		}
		text = append(text, fmt.Sprintf("%s %d", key, got))
		figures[key] = float64(got)
	}
	t.told = append(t.told, Finding{Text: fmt.Sprintf("the kernel has for disk %s in the cgroup of %s: %s", t.Disk, t.Target.Name, strings.Join(text, ", ")), Figures: figures})
	t.lost = make(chan error, 1)
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	t.done.Go(func() { t.watchLimits(ctx, g) })
	return nil
}

// watchLimits yields an error once the limits are no longer there: they go with the
// cgroup when the target is restarted.
func (t *throttleIO) watchLimits(ctx context.Context, g *cgroups.Group) {
	defer g.Close()
	for rest(ctx, unmounted) {
		for key := range t.Old {
			got, err := g.Limit(t.Disk, key)
			if err == nil && got != t.limit(key) {
				err = fmt.Errorf("somebody has set it to %d", got)
			}
			if err != nil {
				t.lost <- fmt.Errorf("the %s of %s is limited no more: %w", key, t.Target.Name, err)
				return
			}
		}
	}
}

// Lost implements [Fragile].
func (t *throttleIO) Lost() <-chan error { return t.lost }

// Undo gives the disk back what limits it had, where they are still ours.
func (t *throttleIO) Undo(ctx context.Context, w World, _ Past) (string, error) {
	if t.stop != nil {
		t.stop()
		t.done.Wait()
		t.stop = nil
		close(t.lost)
	}
	c, err := inspect(ctx, w, t.Target.ID)
	switch {
	case errdefs.IsNotFound(err):
		return "the container is gone, and its limits with it", nil
	case err != nil:
		return "", err
	case c.State.StartedAt != t.Target.StartedAt || !c.State.Running || c.State.Pid <= 0:
		return "its limits went with its cgroup", nil
	}
	g, err := cgroups.Of(c.State.Pid, hosts(c.State.Pid))
	if err != nil {
		return "", err
	}
	defer g.Close()
	t.measure(g)
	var all error
	for key, old := range t.Old {
		got, err := g.Limit(t.Disk, key)
		if err == nil && got == t.limit(key) {
			err = g.Set(t.Disk, key, old)
		}
		if err == nil {
			if got, err = g.Limit(t.Disk, key); err == nil && got == t.limit(key) && got != old {
				err = fmt.Errorf("the kernel still has %d", got)
			}
		}
		all = errors.Join(all, err)
	}
	if all == nil && !t.since.IsZero() {
		t.told = append(t.told, Finding{Text: fmt.Sprintf("disk %s of %s has the limits that it had", t.Disk, t.Target.Name)})
	}
	return "", all
}

// measure says how fast the target was meanwhile.
func (t *throttleIO) measure(g *cgroups.Group) {
	took := time.Since(t.since).Seconds()
	for key, before := range t.began {
		now, err := g.Count(t.Disk, key)
		if err != nil || took <= 0 {
			continue
		}
		rate := float64(now-before) / took
		t.told = append(t.told, Finding{
			Text:    fmt.Sprintf("%s of %s: %.0f over %.1f s, at most %d", key, t.Target.Name, rate, took, t.limit(key)),
			Figures: map[string]float64{key: rate},
		})
	}
}

// Findings implements [Witness].
func (t *throttleIO) Findings() []Finding {
	told := t.told
	t.told = nil
	return told
}

// Describe implements [Fault].
func (t *throttleIO) Describe() Words {
	var text []string
	for _, key := range cgroups.Keys {
		if n := t.limit(key); n > 0 {
			text = append(text, fmt.Sprintf("%s %d", key, n))
		}
	}
	return Words{
		Harm: fmt.Sprintf("limit %s on %s (disk %s) to %s", called(t.Target), t.Path, t.Disk, strings.Join(text, ", ")),
		// The cgroup is the kernel's, but it does not go with the agent.
		Remedy: "give the disk back the limits that it had", Held: HeldByEngine,
	}
}

// Mend implements [Fault].
func (t *throttleIO) Mend() string {
	return strings.Join(slices.Sorted(maps.Values(t.By)), "; ")
}

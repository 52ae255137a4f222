package cgroups

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhich(t *testing.T) {
	for _, c := range []struct {
		groups, inner string
		version       int
	}{
		{"9:name=systemd:/docker/x\n7:blkio:/docker/x\n0::/docker/y\n", "/docker/x", 1},
		{"12:cpu,cpuacct:/a\n3:blkio,net_cls:/b\n", "/b", 1},
		{"0::/system.slice/docker-x.scope\n", "/system.slice/docker-x.scope", 2},
		{"1:name=systemd:/x\n", "", 0},
		{"", "", 0},
	} {
		if version, inner := which(c.groups); version != c.version || inner != c.inner {
			t.Errorf("%q: got %d %q, want %d %q", c.groups, version, inner, c.version, c.inner)
		}
	}
}

// The files of both versions, as the kernel's documentation has them.
func TestFiles(t *testing.T) {
	for _, c := range []struct {
		version int
		files   map[string]string
		key     string
		limit   int64
		count   int64
		set     string // what is written for 5 on 8:16
		clear   string
	}{
		{1, map[string]string{
			"blkio.throttle.write_bps_device": "8:0 7\n8:16 2097152\n",
			"blkio.throttle.io_service_bytes": "8:16 Read 1\n8:16 Write 4096\n8:16 Sync 5\nTotal 9\n",
		}, "write_bps", 2097152, 4096, "8:16 5", "8:16 0"},
		{1, map[string]string{
			"blkio.throttle.write_bps_device": "", "blkio.throttle.read_iops_device": "8:160 3\n",
			"blkio.throttle.io_serviced": "8:16 Read 12\n8:16 Write 13\n",
		}, "read_iops", 0, 12, "8:16 5", "8:16 0"},
		{2, map[string]string{
			"io.max":  "8:0 rbps=1 wbps=2 riops=max wiops=max\n8:16 rbps=2097152 wbps=max riops=max wiops=120\n",
			"io.stat": "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n",
		}, "read_bps", 2097152, 1459200, "8:16 rbps=5", "8:16 rbps=max"},
		{2, map[string]string{
			"io.max": "8:16 rbps=2097152 wbps=max riops=max wiops=120\n", "io.stat": "8:16 rbytes=1 wbytes=2 rios=192 wios=353\n",
		}, "write_bps", 0, 2, "8:16 wbps=5", "8:16 wbps=max"},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		g := &Group{Version: c.version, dir: fd}
		if got, err := g.Limit("8:16", c.key); got != c.limit || err != nil {
			t.Errorf("version %d, %s: got limit %d, %v, want %d", c.version, c.key, got, err, c.limit)
		}
		if got, err := g.Count("8:16", c.key); got != c.count || err != nil {
			t.Errorf("version %d, %s: got count %d, %v, want %d", c.version, c.key, got, err, c.count)
		}
		for value, want := range map[int64]string{5: c.set, 0: c.clear} {
			file := filepath.Join(dir, g.file(c.key))
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := g.Set("8:16", c.key, value); err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(file); string(got) != want {
				t.Errorf("version %d, %s: wrote %q for %d, want %q", c.version, c.key, got, value, want)
			}
		}
		g.Close()
		if _, err := g.Limit("8:16", c.key); err == nil {
			t.Errorf("version %d: a group that is closed has limits", c.version)
		}
	}
}

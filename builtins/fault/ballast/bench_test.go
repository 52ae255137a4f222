package ballast

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/disktest"
)

var large = []struct {
	name string
	size int64
	disk func(testing.TB) *disktest.Disk
}{
	{"tmpfs-1GiB", 1 << 30, func(t testing.TB) *disktest.Disk { return disktest.Tmpfs(t, 1<<30+64*mib, "") }},
	{"ext4-1GiB", 1 << 30, func(t testing.TB) *disktest.Disk { return disktest.Ext4(t, 5<<28, 5) }},
	{"ext4-20GiB", 20 << 30, func(t testing.TB) *disktest.Disk { return disktest.Ext4(t, 22<<30, 5) }},
}

// BenchmarkFill is beside a bare fallocate, and dd for scale (1 GiB of it).
func BenchmarkFill(b *testing.B) {
	for _, c := range large {
		dir := c.disk(b).Dir
		fd := open(b, dir)
		fills := []struct {
			name string
			fill func() func()
		}{
			{"ballast", func() func() {
				x := New(Spec{Dir: fd, Hold: Kernel, Size: c.size})
				if err := x.Fill(b.Context()); err != nil {
					b.Fatal(err)
				}
				return x.Close
			}},
			{"fallocate", func() func() {
				file, err := unix.Openat(fd, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600)
				if err == nil {
					err = unix.Fallocate(file, 0, 0, c.size)
				}
				if err != nil {
					b.Fatal(err)
				}
				return func() { _ = unix.Close(file) }
			}},
			{"dd-1GiB", func() func() {
				path := filepath.Join(dir, "dd")
				if out, err := exec.Command("dd", "if=/dev/zero", "of="+path, "bs=1M", "count=1024", "conv=fsync").CombinedOutput(); err != nil {
					b.Fatalf("dd: %v\n%s", err, out)
				}
				return func() { _ = os.Remove(path) }
			}},
		}
		for _, f := range fills {
			b.Run(c.name+"/"+f.name, func(b *testing.B) {
				for b.Loop() {
					free := f.fill()
					b.StopTimer()
					free()
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkKilled is the time from kill -9 of the holder until the room is
// back, beside that of a process with one file.
func BenchmarkKilled(b *testing.B) {
	for _, c := range large {
		dir := c.disk(b).Dir
		before := usage(b, dir)
		for name, bare := range map[string]string{"ballast": "", "bare": "1"} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.Setenv(envBare, bare)
				for b.Loop() {
					b.StopTimer()
					cmd := holder(b, dir, c.size)
					b.StartTimer()
					if err := cmd.Process.Kill(); err != nil {
						b.Fatal(err)
					}
					for usage(b, dir).Avail < before.Avail-mib {
						time.Sleep(100 * time.Microsecond)
					}
				}
			})
		}
	}
}

// BenchmarkRefill is the time from 10 MiB freed until they are taken.
func BenchmarkRefill(b *testing.B) {
	dir := disktest.Ext4(b, 200*mib, 5).Dir
	victim := filepath.Join(dir, "victim")
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		if err := os.WriteFile(victim, make([]byte, 10*mib), 0o600); err != nil {
			b.Fatal(err)
		}
		unix.Sync()
		x := New(Spec{Dir: open(b, dir), Hold: Kernel, Size: -1, Keep: true})
		if err := x.Fill(b.Context()); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Duration(i*7%20) * time.Millisecond) // anywhere between two looks
		b.StartTimer()
		if err := os.Remove(victim); err != nil {
			b.Fatal(err)
		}
		for {
			if _, bytes := x.Refills(); bytes >= 9*mib {
				break
			}
			time.Sleep(100 * time.Microsecond)
		}
		b.StopTimer()
		x.Close()
		b.StartTimer()
	}
}

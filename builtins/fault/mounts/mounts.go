// Package mounts finds a path inside a process's mount namespace, and says what
// file system it is on.
//
//	pidfd ─▶ inspect ─▶ /proc/PID/root (held open) ─▶ openat2(path, IN_ROOT | NO_MAGICLINKS)
//	                                                        ├── fstatfs: how full, as the process sees it
//	                                                        └── mnt_id ─▶ /proc/PID/mountinfo: which file system
//
// A path is never glued to /proc/PID/root: an absolute symlink in there would
// be followed on the host.
package mounts

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A Mount is a line of a process's mountinfo.
type Mount struct {
	ID     int
	Device string // major:minor of the superblock: the file system's identity on this host
	Root   string // which folder of the file system is seen
	Point  string // where, for the process
	Type   string // "ext4"
	Source string // "/dev/sda1"
	Flags  string // of the mount: "rw,noatime"
	Super  string // of the file system: "rw,resuid=65534"
}

// Of lists what process pid has mounted.
func Of(pid int) ([]Mount, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	var all []Mount
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // an overlay names all of its layers
	for lines.Scan() {
		if m, ok := parse(lines.Text()); ok {
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// parse reads "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw".
func parse(line string) (Mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 6 || len(r) < 2 {
		return Mount{}, false
	}
	id, err := strconv.Atoi(l[0])
	if err != nil {
		return Mount{}, false
	}
	m := Mount{ID: id, Device: l[2], Root: unescape(l[3]), Point: unescape(l[4]), Flags: l[5], Type: r[0], Source: unescape(r[1])}
	if len(r) > 2 {
		m.Super = r[2]
	}
	return m, true
}

// unescape undoes the octal escapes of blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Option is the value of an option of the file system, such as upperdir.
func (m Mount) Option(name string) string {
	for _, o := range strings.Split(m.Super, ",") {
		if value, ok := strings.CutPrefix(o, name+"="); ok {
			return unescape(value)
		}
	}
	return ""
}

// ReadOnly says whether nothing can be written through the mount.
func (m Mount) ReadOnly() bool {
	for _, flags := range []string{m.Flags, m.Super} {
		for _, o := range strings.Split(flags, ",") {
			if o == "ro" {
				return true
			}
		}
	}
	return false
}

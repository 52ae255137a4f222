package ledger

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// step is how much room is set aside at once, beyond what is needed now: to set
// it aside costs as much as an intent.
const step = 128 << 10

// reserve makes sure that the file system has room up to an offset. On a disk
// that is almost full it is content with just that.
func (l *Ledger) reserve(to int64) error {
	if to <= l.room {
		return nil
	}
	if l.file == nil {
		return os.ErrClosed
	}
	from := max(l.room, l.end)
	far := to + step
	err := setAside(l.file, from, far)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		far = to
		err = setAside(l.file, from, far)
	}
	if err != nil {
		return fmt.Errorf("allocate %d bytes: %w", far-from, err)
	}
	l.room = far
	return nil
}

// setAside allocates the bytes in [from, to), and fills them with zeros where
// that makes the records that take their place cheaper to sync: then neither
// the file's size nor its map changes any more. Readers skip zeros.
func setAside(f *os.File, from, to int64) error {
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, to-from).(unix.Errno)
	}
	promised := err == 0
	if !promised && err != unix.EOPNOTSUPP && err != unix.ENOSYS {
		return err
	}
	if promised && !inPlace(f) {
		return nil
	}
	if _, err := f.WriteAt(make([]byte, to-from), from); err != nil && !promised {
		return err // else the room is there, and only dearer to use
	}
	return datasync(f)
}

// inPlace says whether the file system writes over a file's bytes where they
// are. One that copies on write needs new room for that, which a full disk does
// not have: there the zeros would use up what fallocate has promised.
func inPlace(f *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

// datasync puts a file's bytes on disk, and of its metadata what they need.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const preamble = `# Chaos log

One entry a run, newest last, appended by the runner. What people write here stays as it is.
`

// Append adds an entry to the log at path, under a lock, once for each run.
// Nothing that stands in the file is changed.
func Append(path, run, entry string) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if !info.Mode().IsRegular() { // a pipe or a device has no end to append to
		return fmt.Errorf("log: %s is no regular file", path)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("log: lock %s: %w", path, err)
	}
	old, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if bytes.Contains(old, []byte(Marker(run))) {
		return nil
	}
	add := entry
	switch {
	case len(old) == 0:
		add = preamble + "\n" + entry
	case !bytes.HasSuffix(old, []byte("\n")):
		add = "\n\n" + entry
	case !bytes.HasSuffix(old, []byte("\n\n")):
		add = "\n" + entry
	}
	if _, err := file.WriteString(add); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return nil
}

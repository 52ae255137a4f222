package modules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unicode/utf8"
)

// MaxSource is the most that one file may hold. A script of that size is no
// script.
const MaxSource = 1 << 20

// read opens a module's file, looks at what was opened, and reads that. Between
// the look and the reading nobody can put another file there.
func (r *Resolver) read(id string) (f *file, err error) {
	root, below, err := r.place(id)
	if err != nil {
		return nil, err
	}
	// Without O_NONBLOCK, opening a FIFO waits for a writer, for ever.
	in, err := root.OpenFile(below, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, r.refuse(id, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is %s, want a file", id, kind(info.Mode()))
	}
	if info.Size() > MaxSource {
		return nil, fmt.Errorf("%s has %d bytes, want at most 1 MiB", id, info.Size())
	}
	source, err := io.ReadAll(io.LimitReader(in, MaxSource+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", id, err)
	case len(source) > MaxSource: // it grew meanwhile
		return nil, fmt.Errorf("%s has more than 1 MiB", id)
	}
	if err := text(source); err != nil {
		return nil, fmt.Errorf("%s %w", id, err)
	}
	f = &file{info: info}
	f.Source = string(source)
	return f, nil
}

// text refuses what is no text for an interpreter: it would be told badly, or
// hide something from whoever reads the file.
func text(source []byte) error {
	line := func(at int) int { return 1 + bytes.Count(source[:at], []byte("\n")) }
	if bytes.HasPrefix(source, []byte("\xef\xbb\xbf")) {
		return errors.New("begins with a byte order mark: save it as UTF-8 without BOM")
	}
	if at := bytes.IndexByte(source, 0); at >= 0 {
		return fmt.Errorf("has a NUL byte in line %d: is it a text?", line(at))
	}
	for at := 0; at < len(source); {
		c, size := utf8.DecodeRune(source[at:])
		if c == utf8.RuneError && size == 1 {
			return fmt.Errorf("is no UTF-8: see line %d", line(at))
		}
		if reorders(c) {
			return fmt.Errorf("has the character %U in line %d, which makes people read another text than the interpreter", c, line(at))
		}
		at += size
	}
	return nil
}

// reorders says that a character changes the direction of the line it is in.
func reorders(c rune) bool {
	return c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// refuse tells why a file cannot be opened.
func (r *Resolver) refuse(id string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s (the root is %s)", id, r.root)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENXIO):
		return fmt.Errorf("%s cannot be read: %w", id, errors.Unwrap(err))
	}
	return fmt.Errorf("%s cannot be read: %w (a link must not lead out of its root)", id, errors.Unwrap(err))
}

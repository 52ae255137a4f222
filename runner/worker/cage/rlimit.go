package cage

import (
	"fmt"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

const (
	maxFiles   = 16 // stdio, the poller's two, one at a time for Landlock
	maxThreads = 64 // of the worker's own uid; a busy one has about ten
)

// limitResources bounds memory first of all. RLIMIT_DATA counts private
// writable mappings, which is what Go's heap and stacks are; RLIMIT_AS would
// count address space that Go reserves and never touches. Shared mappings,
// which RLIMIT_DATA does not count, are seccomp's to refuse.
func limitResources(s settings) (string, error) {
	for _, l := range []struct {
		name     string
		resource int
		max      uint64
	}{
		{"RLIMIT_DATA", unix.RLIMIT_DATA, uint64(s.memory)},
		{"RLIMIT_CORE", unix.RLIMIT_CORE, 0},
		{"RLIMIT_FSIZE", unix.RLIMIT_FSIZE, 0}, // pipes do not count
		{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, maxFiles},
	} {
		if err := setLimit(l.resource, l.max); err != nil {
			return "", fmt.Errorf("%s: %w", l.name, err)
		}
	}
	// Go grows a stack by copying it to one twice as large. At this bound it
	// still dies of "stack overflow", not of lack of memory.
	debug.SetMaxStack(maxStack(s.memory))
	return "rlimit", nil
}

func maxStack(memory int64) int { return int(memory / 8) }

// setLimit never raises: a limit that already stands lower is kept.
func setLimit(resource int, limit uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return err
	}
	limit = min(limit, now.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit})
}

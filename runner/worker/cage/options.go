package cage

import (
	"fmt"
	"os"
	"strconv"
)

// DefaultMemory is the private memory a worker may map, in bytes.
const DefaultMemory = 1 << 30

// minMemory is what a Go process needs to start and to die with a message.
const minMemory = 64 << 20

// What Start tells Enter, through the environment.
const (
	envParent = "CHAOS_CAGE_PARENT" // pid of the process that must stay the parent
	envMemory = "CHAOS_CAGE_MEMORY" // bytes
)

// Options are what may differ from cage to cage.
type Options struct {
	// Memory is the limit on private writable memory (RLIMIT_DATA), in bytes.
	// 0 means, for Start, DefaultMemory; for Enter, what Start said. In a
	// binary with cgo each thread's stack takes 8 MiB of it, in a static one
	// almost nothing.
	Memory int64
}

func (o Options) memory() (int64, error) {
	if o.Memory == 0 {
		return DefaultMemory, nil
	}
	if o.Memory < minMemory {
		return 0, fmt.Errorf("cage: got a memory limit of %s, want at least %s", size(o.Memory), size(minMemory))
	}
	return o.Memory, nil
}

// settings is what the rings need to know.
type settings struct {
	memory int64
	parent int
}

func (o Options) settings() (settings, error) {
	var s settings
	parent, err := strconv.Atoi(os.Getenv(envParent))
	if err != nil || parent < 1 {
		return s, fmt.Errorf("cage: got %s=%q, want the parent's pid: a worker is started by its runner, not by hand", envParent, os.Getenv(envParent))
	}
	if o.Memory == 0 && os.Getenv(envMemory) != "" {
		o.Memory, err = strconv.ParseInt(os.Getenv(envMemory), 10, 64)
		if err != nil {
			return s, fmt.Errorf("cage: got %s=%q, want bytes", envMemory, os.Getenv(envMemory))
		}
	}
	s.parent = parent
	s.memory, err = o.memory()
	return s, err
}

// size writes bytes as people do: 1 GiB, 96 MiB, 1000 bytes.
func size(n int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d %s", n/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

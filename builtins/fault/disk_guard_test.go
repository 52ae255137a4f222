package fault

import (
	"os"
	"strings"
	"testing"

	"chaosrunner/builtins/fault/mounts"
)

// What the engine starts in a container is in its cgroup first, and has all of
// the host's mounts still: also those of other containers' volumes.
func TestSettled(t *testing.T) {
	host, err := mounts.Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	starting, id := os.Getpid(), strings.Repeat("ab", 32)
	elsewhere := append([]mounts.Mount{}, host...)
	for i := range elsewhere {
		elsewhere[i].Root = "/elsewhere"
	}
	for name, c := range map[string]struct {
		pids []int
		host []mounts.Mount
		has  int
	}{
		"in there":      {pids: []int{starting}, host: elsewhere, has: len(host)},
		"only starting": {pids: []int{starting}, host: host}, // and gone at the second look
		"gone":          {},
	} {
		has, err := settled(t.Context(), id, map[string][]int{id: c.pids}, c.host)
		if err != nil || len(has) != c.has {
			t.Errorf("%s: got %d mounts and %v, want %d", name, len(has), err, c.has)
		}
	}
}

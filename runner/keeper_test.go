package main

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// strikeAt is the environment in which the first process that comes to a step
// is killed there; others pass.
func (l *lab) strikeAt(step string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, "door")
	door, err := net.Listen("unix", path)
	if err != nil {
		l.t.Fatal(err)
	}
	var once sync.Once
	go func() {
		for {
			c, err := door.Accept()
			if err != nil {
				return
			}
			once.Do(func() {
				var at string
				var pid int
				line, err := bufio.NewReader(c).ReadString('\n')
				if _, scan := fmt.Sscan(line, &at, &pid); err != nil || scan != nil {
					return // nobody is struck, and the test says so
				}
				_ = syscall.Kill(pid, syscall.SIGKILL) // it waits for us
			})
			_ = c.Close() // an answer
		}
	}()
	l.t.Cleanup(func() { _ = door.Close() }) // nothing waits to be written
	return "RUNNER_FAILPOINT=" + step + ":meet:" + path
}

// The agent that keeps account of the script's rollbacks dies: before one has
// begun, or when it is told that it has run. It runs once, and is on record.
func TestRollbackRunsOnceThoughItsKeeperDies(t *testing.T) {
	for _, step := range []string{"before-fsync-rolling", "before-fsync-rolled"} {
		t.Run(step, func(t *testing.T) {
			l := newLab(t)
			p := l.startEnv([]string{l.strikeAt(step)}, l.withRollback(`kill("`+l.victim.Name+`", duration = "500ms")`))
			p.exits(5)
			l.back()
			if n := strings.Count(p.out.String(), "mended 3: 200"); n != 1 {
				t.Errorf("the rollback has run %d times", n)
			}
			if r := l.result(); !strings.Contains(r.Reason, "agent") {
				t.Errorf("got reason %q, want the agent's death", r.Reason)
			}
			if said := l.once(0, "recover"); !strings.Contains(said, "nothing to undo") || strings.Contains(said, "mended") {
				t.Errorf("something was left to recover:\n%s", said)
			}
			if log := l.log(); strings.Count(log, "· exp · failed") != 1 || strings.Count(log, "rollback mend done") != 1 {
				t.Errorf("want one entry, and in it one rollback:\n%s", log)
			}
		})
	}
}

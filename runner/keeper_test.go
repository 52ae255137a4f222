package main

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// meetAt is the environment in which the first process that comes to a step
// waits there until its connection is closed; those that come later pass.
func (l *lab) meetAt(step string) (env string, met <-chan net.Conn) {
	l.t.Helper()
	path := filepath.Join(l.dir, "door")
	door, err := net.Listen("unix", path)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = door.Close() }) // nothing waits to be written
	first := make(chan net.Conn, 1)
	go func() {
		for n := 0; ; n++ {
			c, err := door.Accept()
			if err != nil {
				return
			}
			if n == 0 {
				first <- c
				continue
			}
			_ = c.Close() // an answer
		}
	}()
	return "RUNNER_FAILPOINT=" + step + ":meet:" + path, first
}

// The agent that keeps account of the script's rollbacks dies: before one has
// begun, and before it can be told that it has run. It runs once, and that is on
// record.
func TestRollbackRunsOnceThoughItsKeeperDies(t *testing.T) {
	for _, step := range []string{"run-undone", "before-fsync-rolling", "run-rolled", "before-fsync-rolled"} {
		t.Run(step, func(t *testing.T) {
			l := newLab(t)
			env, met := l.meetAt(step)
			p := l.startEnv([]string{env}, l.withRollback(`kill("`+l.victim.Name+`", duration = "500ms")`))
			select {
			case c := <-met:
				defer c.Close() //nolint:errcheck // an answer
				pid := l.pid("agent")
				l.signal("agent", syscall.SIGKILL)
				for until := time.Now().Add(time.Minute); alive(pid); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(until) {
						t.Fatal("the agent survives SIGKILL")
					}
				}
				_ = c.Close() // twice is fine
			case <-p.ended:
				t.Fatalf("nobody came to %s", step)
			}
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

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/report"
)

// The endings of endings_test.go again, with the agent in a container.

var volumes atomic.Int64

// newBox is a lab whose agents are containers.
func newBox(t *testing.T) *lab {
	l := newLab(t)
	l.inside = true
	l.noneLeft(t)
	return l
}

// newVolume is one whose ledgers lie on a volume.
func newVolume(t *testing.T) *lab {
	l := newLab(t)
	l.inside, l.volume = true, enginetest.Volume(t, fmt.Sprintf("ledger-%d", volumes.Add(1)))
	l.noneLeft(t) // before the volume goes
	return l
}

func (l *lab) noneLeft(t *testing.T) {
	t.Cleanup(func() {
		l.noContainer()
		for _, c := range l.containers() {
			l.engine("remove", func(ctx context.Context) error {
				return enginetest.Client(t).ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
			})
		}
	})
}

func (l *lab) engine(what string, call func(context.Context) error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := call(ctx); err != nil {
		l.t.Errorf("%s: %v", what, err)
	}
}

// containers has those of this lab's agents.
func (l *lab) containers() (all []container.Summary) {
	l.t.Helper()
	where := l.state()
	if l.volume != "" {
		where = "volume:" + l.volume
	}
	l.engine("list", func(ctx context.Context) (err error) {
		all, err = enginetest.Client(l.t).ContainerList(ctx, container.ListOptions{
			All: true, Filters: filters.NewArgs(filters.Arg("label", "chaosrunner.ledgers="+where)),
		})
		return err
	})
	return all
}

// helper is the one container there is.
func (l *lab) helper() string {
	l.t.Helper()
	all := l.containers()
	if len(all) != 1 {
		l.t.Fatalf("got %d containers of agents, want one: %+v", len(all), all)
	}
	return all[0].ID
}

// noContainer waits until the engine has removed every container of the lab's agents.
func (l *lab) noContainer() {
	l.t.Helper()
	for until := time.Now().Add(30 * time.Second); len(l.containers()) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			l.t.Errorf("containers of the runner are left over: %+v", l.containers())
			return
		}
	}
}

func TestContainerEndOfMethod(t *testing.T) {
	l := newBox(t)
	p := l.underFault(l.script(l.web,
		`kill("`+l.victim.Name+`", duration = "1s")`,
		`observe("1500ms")`,
		`expect("up 1" in http("http://`+l.web.Name+`:8080/metrics").body, "the web's loopback")`,
		`kill("`+l.victim.Name+`", stays_down = False, duration = "500ms")`))
	p.exits(0)
	l.back()
	l.gone()
	if r := l.result(); r.Verdict != report.Held || r.Ending != report.Completed || len(r.Stuck) != 0 {
		t.Errorf("got %s, %s, stuck %v; want held, completed", r.Verdict, r.Ending, r.Stuck)
	}
}

func TestContainerAbort(t *testing.T) {
	l := newBox(t)
	p := l.underFault(l.script(l.victim, `kill("`+l.victim.Name+`")`, `observe("60s")`))
	p.exits(3)
	l.back()
	l.gone()
}

func TestContainerCtrlC(t *testing.T) {
	l := newBox(t)
	p := l.underFault(l.killAndWait())
	for range 10 {
		l.signal("supervisor", syscall.SIGINT)
		time.Sleep(time.Millisecond)
	}
	p.exits(130)
	l.back()
	l.gone()
}

func TestContainerSupervisorKilled(t *testing.T) {
	l := newBox(t)
	l.underFault(l.killAndWait())
	l.signal("supervisor", syscall.SIGKILL)
	l.back()
	l.gone()
	l.once(0, "recover")
	if r := l.result(); r.Ending != report.Failed || len(r.Faults) != 1 || len(r.Stuck) != 0 {
		t.Errorf("got %s with %+v, stuck %v; want failed, the fault undone", r.Ending, r.Faults, r.Stuck)
	}
	if log := l.log(); strings.Count(log, "· exp · failed") != 1 {
		t.Errorf("want one entry, failed:\n%s", log)
	}
	l.noContainer()
}

// A CI job's end kills every process of the job at once, a service manager
// every process of the service. The container is in neither.
func TestContainerJobKilled(t *testing.T) {
	l := newBox(t)
	p := l.underFault(l.killAndWait())
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.signal("worker", syscall.SIGKILL)
	l.back()
	l.gone()
}

func TestContainerSupervisorStopped(t *testing.T) {
	l := newBox(t)
	p := l.underFault(l.killAndWait())
	l.signal("supervisor", syscall.SIGSTOP)
	l.back()
	l.signal("supervisor", syscall.SIGCONT) // it wakes up and must not go on
	p.exits(5)
	l.stays(time.Second)
	l.gone()
	if r := l.result(); !strings.Contains(r.Reason, "silence") {
		t.Errorf("got reason %q, want the agent's: silence", r.Reason)
	}
}

func TestContainerAgentKilled(t *testing.T) {
	for name, kill := range map[string]func(*lab){
		"process": func(l *lab) { l.signal("agent", syscall.SIGKILL) },
		"docker kill": func(l *lab) {
			id := l.helper()
			l.engine("kill", func(ctx context.Context) error { return enginetest.Client(l.t).ContainerKill(ctx, id, "SIGKILL") })
		},
		"docker rm": func(l *lab) {
			id := l.helper()
			l.engine("remove", func(ctx context.Context) error {
				return enginetest.Client(l.t).ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBox(t)
			p := l.underFault(l.killAndWait())
			kill(l)
			p.exits(5)
			l.back()
			l.gone()
			if r := l.result(); len(r.Stuck) != 0 || len(r.Faults) != 1 || r.Faults[0].Undone.IsZero() {
				t.Errorf("got %+v, stuck %v; want the fault undone by a second agent", r.Faults, r.Stuck)
			}
		})
	}
}

func TestContainerAgentWedged(t *testing.T) {
	for name, wedge := range map[string]func(*lab){
		"stopped": func(l *lab) { l.signal("agent", syscall.SIGSTOP) },
		"paused": func(l *lab) {
			id := l.helper()
			l.engine("pause", func(ctx context.Context) error { return enginetest.Client(l.t).ContainerPause(ctx, id) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBox(t)
			p := l.underFault(l.killAndWait())
			wedge(l)
			p.exits(5)
			l.back()
			l.gone()
			if r := l.result(); len(r.Stuck) != 0 || !strings.Contains(r.Reason, "heartbeat") {
				t.Errorf("got reason %q, stuck %v; want the unanswered heartbeat", r.Reason, r.Stuck)
			}
		})
	}
}

func TestContainerAllKilled(t *testing.T) {
	l := newBox(t)
	l.underFault(l.killAndWait())
	l.signal("supervisor", syscall.SIGSTOP) // so that none of them sees another die
	l.signal("agent", syscall.SIGSTOP)
	for _, name := range []string{"agent", "supervisor"} {
		l.signal(name, syscall.SIGKILL)
	}
	l.gone()
	l.down() // nobody is left who could have undone it
	if said := l.once(0, "status"); !strings.Contains(said, "dead") || !strings.Contains(said, "kill -9 "+l.victim.Name) {
		t.Errorf("status does not tell what a dead run has left:\n%s", said)
	}
	l.once(0, "recover")
	l.back()
	if log := l.log(); strings.Count(log, "· exp · failed") != 1 {
		t.Errorf("want one entry, failed:\n%s", log)
	}
	if said := l.once(0, "status"); !strings.Contains(said, "nothing is injected") {
		t.Errorf("status after recover:\n%s", said)
	}
	l.noContainer()
}

func TestContainerVolume(t *testing.T) {
	l := newVolume(t)
	p := l.underFault(l.killAndWait())
	if said := l.once(64, l.killAndWait()); !strings.Contains(said, "holds this engine") {
		t.Errorf("want a refusal:\n%s", said)
	}
	if said := l.once(0, "status"); !strings.Contains(said, "runs since") || !strings.Contains(said, "kill -9 "+l.victim.Name) {
		t.Errorf("status does not tell what runs:\n%s", said)
	}
	l.once(0, "stop")
	l.back()
	p.exits(143)
	l.gone()
	if _, err := os.Stat(l.state()); err == nil {
		t.Errorf("%s was made", l.state())
	}
}

// Whatever the agents are, one run at a time has an engine, and each kind sees,
// stops and recovers what the other has left.
func TestContainerAndChild(t *testing.T) {
	for name, first := range map[string]bool{"container first": true, "child first": false} {
		t.Run(name, func(t *testing.T) {
			l := newBox(t)
			l.inside = first
			p := l.underFault(l.killAndWait())
			l.inside = !first
			if said := l.once(64, l.killAndWait()); !strings.Contains(said, "-exp (agent pid") || !strings.Contains(said, "holds this engine") {
				t.Errorf("want a refusal that names the other's run:\n%s", said)
			}
			if said := l.once(0, "status"); !strings.Contains(said, "runs since") || !strings.Contains(said, "kill -9 "+l.victim.Name) {
				t.Errorf("status does not tell what runs:\n%s", said)
			}
			l.once(0, "stop")
			l.back()
			p.exits(143)

			l.inside = first
			l.underFault(l.killAndWait())
			for _, name := range []string{"supervisor", "agent"} {
				l.signal(name, syscall.SIGSTOP)
			}
			for _, name := range []string{"agent", "supervisor"} {
				l.signal(name, syscall.SIGKILL)
			}
			l.gone()
			l.down()
			l.inside = !first
			l.once(0, "recover")
			l.back()
			l.inside = true
			l.noContainer()
		})
	}
}

// A paused container cannot answer a child's red button, nor die of it.
func TestContainerPausedAndChild(t *testing.T) {
	l := newBox(t)
	l.underFault(l.killAndWait())
	l.signal("supervisor", syscall.SIGSTOP)
	id := l.helper()
	l.engine("pause", func(ctx context.Context) error { return enginetest.Client(l.t).ContainerPause(ctx, id) })
	l.inside = false
	l.once(0, "stop")
	l.back()
	l.inside = true
	l.signal("supervisor", syscall.SIGKILL)
	l.gone()
}

func TestContainerRedButton(t *testing.T) {
	l := newBox(t)
	p := l.underFault(l.killAndWait())
	if said := l.once(0, "status"); !strings.Contains(said, "runs since") || !strings.Contains(said, "kill -9 "+l.victim.Name) {
		t.Errorf("status does not tell what runs:\n%s", said)
	}
	said := l.once(0, "stop")
	l.back()
	if !strings.Contains(said, "undone") {
		t.Errorf("stop does not say what it did:\n%s", said)
	}
	p.exits(143)
	l.stays(500 * time.Millisecond)
	l.gone()
}

// The agent cannot answer the red button, nor can its supervisor help it.
func TestContainerRedButtonOnAWedgedAgent(t *testing.T) {
	for name, wedge := range map[string]func(*lab){
		"stopped": func(l *lab) { l.signal("agent", syscall.SIGSTOP) },
		"paused": func(l *lab) {
			id := l.helper()
			l.engine("pause", func(ctx context.Context) error { return enginetest.Client(l.t).ContainerPause(ctx, id) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBox(t)
			l.underFault(l.killAndWait())
			l.signal("supervisor", syscall.SIGSTOP)
			wedge(l)
			l.once(0, "stop")
			l.back()
			l.signal("supervisor", syscall.SIGKILL)
			l.gone()
		})
	}
}

func TestContainerSecondRunAtTheSameTime(t *testing.T) {
	l := newBox(t)
	script := l.killAndWait()
	p := l.underFault(script)
	if said := l.once(64, script); !strings.Contains(said, "runner status") {
		t.Errorf("want a refusal that says what to do:\n%s", said)
	}
	l.down() // the first goes on as if nothing had been
	l.signal("supervisor", syscall.SIGINT)
	p.exits(130)
	l.back()
}

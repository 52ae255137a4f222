package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/strslice"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"chaosrunner/runner/agent"
)

const (
	// DefaultVolume has the ledgers where a folder of the engine's host cannot.
	DefaultVolume = "runner-ledger"
	// DefaultSocket is where the engine's socket lies on the engine's own host.
	DefaultSocket = "/var/run/docker.sock"

	// On every container of ours.
	labelAgent   = "chaosrunner.agent"   // what it was started for
	labelLedgers = "chaosrunner.ledgers" // where its ledgers are
	labelBegan   = "chaosrunner.began"   // when, by the clock of whoever started it

	killLimit = 10 * time.Second // for the engine to see the end of what it has killed
	lastRead  = time.Second      // for what it said before its end
	unstarted = time.Minute      // that a container waits for its start at most
	undoGrace = 120              // seconds between a docker stop's SIGTERM and its SIGKILL
)

// rights are what a container agent may do beyond a process without any, and
// what for. With pid=host they are enough for all that is in builtins/fault.
var rights = []struct{ capability, purpose string }{
	{"KILL", "signal a target's process, whatever its user: kill(stays_down = False)"},
	{"SYS_PTRACE", "open /proc/PID/ns/net of a target that has rights which the agent has not"},
	{"DAC_OVERRIDE", "write into a folder that is not root's: fill_disk, exhaust_inodes"},
	{"SYS_ADMIN", "setns into that network namespace: scrapes and probes over the target's loopback"},
	{"NET_ADMIN", "rules, queues and qdiscs of ours in that namespace: netem, partition"},
	{"NET_RAW", "send on the packets that netem has held, and those that prove it"},
}

// A Container is a place for agents: a container on the engine, one an agent.
type Container struct {
	Ledgers Ledgers
	Socket  string // the engine's, as a path on the engine's host

	engine *client.Client
	id     string // the engine's
}

// NewContainer reaches the engine that the environment names.
func NewContainer(ctx context.Context, ledgers Ledgers, socket string) (*Container, error) {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("agent container: DOCKER_HOST: %w", err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("agent container: cannot reach the Docker engine at %s: %w", c.DaemonHost(), err), c.Close())
	}
	if ledgers, err = ledgers.forContainer(info); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Container{Ledgers: ledgers, Socket: socketFor(socket, c.DaemonHost()), engine: c, id: info.ID}, nil
}

// Start runs an agent in a new container and attaches to it. What ends ctx
// later does not end the agent.
func (p *Container) Start(ctx context.Context) (*Attached, error) {
	p.sweep(ctx)
	return p.run(ctx, "agent")
}

// run runs this program with args in a new container.
func (p *Container) run(ctx context.Context, args ...string) (*Attached, error) {
	id, err := p.create(ctx, args)
	if err != nil {
		return nil, err
	}
	life := context.WithoutCancel(ctx)
	a := &Attached{engine: p.engine, ID: id, said: tail{limit: 16 << 10}, done: make(chan struct{})}
	// Attached and waited for before its start, so that nothing is missed; and
	// an attach that ends before the start is an EOF as well.
	a.conn, err = p.engine.ContainerAttach(life, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("agent container: attach: %w", err), p.remove(life, id))
	}
	ended, lost := p.engine.ContainerWait(life, id, container.WaitConditionNextExit)
	if err := p.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		a.conn.Close()
		return nil, errors.Join(fmt.Errorf("agent container: start: %w", err), p.remove(life, id))
	}
	out, in := io.Pipe()
	a.out = out
	read := make(chan struct{})
	go func() {
		_, err := stdcopy.StdCopy(in, &a.said, a.conn.Reader)
		_ = in.CloseWithError(err) // always nil
		close(read)
	}()
	go a.watch(ended, lost, read)
	return a, nil
}

// create makes the container; if the image has gone meanwhile, with a new one.
func (p *Container) create(ctx context.Context, args []string) (string, error) {
	for try := 0; ; try++ {
		name, err := makeImage(ctx, p.engine)
		if err != nil {
			return "", err
		}
		config, host := p.describe(name, args)
		made, err := p.engine.ContainerCreate(ctx, config, host, nil, nil, "")
		if err == nil {
			return made.ID, nil
		}
		if !errdefs.IsNotFound(err) || try > 0 {
			return "", fmt.Errorf("agent container: create: %w", err)
		}
	}
}

// describe is the container of an agent.
func (p *Container) describe(name string, args []string) (*container.Config, *container.HostConfig) {
	var caps strslice.StrSlice
	for _, r := range rights {
		caps = append(caps, r.capability)
	}
	grace := undoGrace
	env := []string{"DOCKER_HOST=unix://" + DefaultSocket, agent.EnvEngine + "=" + p.id}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "RUNNER_FAILPOINT=") {
			env = append(env, v)
		}
	}
	config := &container.Config{
		Image: name, Cmd: args, Env: env, User: "0:0",
		OpenStdin: true, StdinOnce: true, // else no EOF comes
		AttachStdin: true, AttachStdout: true, AttachStderr: true,
		StopTimeout: &grace,
		Labels: map[string]string{
			labelAgent: args[0], labelLedgers: p.Ledgers.String(), labelBegan: time.Now().UTC().Format(time.RFC3339),
		},
	}
	host := &container.HostConfig{
		AutoRemove:     true, // its anonymous volumes go with it, the ledgers do not
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		NetworkMode:    "none",
		PidMode:        "host",
		UsernsMode:     "host", // pid=host allows no other
		CgroupnsMode:   "host", // else /proc/PID/cgroup has no paths that mean anything
		CapDrop:        strslice.StrSlice{"ALL"},
		CapAdd:         caps,
		SecurityOpt:    []string{"no-new-privileges", "apparmor=unconfined"}, // AppArmor hides the host's own mounts
		ReadonlyRootfs: true,
		LogConfig:      container.LogConfig{Type: "none"}, // the link is not for a log
		Mounts:         []mount.Mount{{Type: mount.TypeBind, Source: p.Socket, Target: DefaultSocket}},
	}
	p.Ledgers.mount(host)
	return config, host
}

// sweep removes what was made and never started: its supervisor died in between,
// and AutoRemove comes with an end only.
func (p *Container) sweep(ctx context.Context) {
	info, err := p.engine.Info(ctx)
	if err != nil {
		return // the next call says so
	}
	now, err := time.Parse(time.RFC3339Nano, info.SystemTime)
	if err != nil {
		return
	}
	left, _ := p.list(ctx, filters.Arg("status", "created"))
	for _, c := range left {
		if now.Sub(time.Unix(c.Created, 0)) > unstarted {
			_ = p.remove(ctx, c.ID) // the next start tries again
		}
	}
}

// list has our containers.
func (p *Container) list(ctx context.Context, more ...filters.KeyValuePair) ([]container.Summary, error) {
	return p.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(append(more, filters.Arg("label", labelAgent))...)})
}

func (p *Container) remove(ctx context.Context, id string) error {
	err := p.engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // AutoRemove was faster, or is at it
		return nil
	}
	return err
}

// An Attached is a process of ours in a container, and our end of its stdio.
type Attached struct {
	ID string // the container's

	engine *client.Client
	conn   types.HijackedResponse
	out    *io.PipeReader
	said   tail
	done   chan struct{}
	once   sync.Once
}

// watch waits for the container's end.
func (a *Attached) watch(ended <-chan container.WaitResponse, lost <-chan error, read <-chan struct{}) {
	select {
	case <-ended:
	case <-lost: // the connection, or the engine: the container may live on
		a.poll()
	}
	select {
	case <-read:
	case <-time.After(lastRead):
	}
	a.conn.Close()
	_ = a.out.CloseWithError(io.EOF) // nobody may be reading any more
	<-read
	close(a.done)
}

// poll asks until the engine says that the container does not run.
func (a *Attached) poll() {
	for ; ; time.Sleep(250 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), killLimit)
		c, err := a.engine.ContainerInspect(ctx, a.ID)
		cancel()
		if errdefs.IsNotFound(err) || err == nil && c.State != nil && !c.State.Running {
			return
		}
	}
}

func (a *Attached) Read(p []byte) (int, error) {
	n, err := a.out.Read(p)
	if errors.Is(err, io.ErrClosedPipe) { // by watch, once all was said: an end like any other
		err = io.EOF
	}
	return n, err
}

func (a *Attached) Write(p []byte) (int, error) { return a.conn.Conn.Write(p) }

// Close ends its stdin; its stdout can still be read.
func (a *Attached) Close() (err error) {
	a.once.Do(func() { err = a.conn.CloseWrite() })
	return err
}

// Kill has the engine send SIGKILL; a paused container is thawed for it. There
// is no pidfd: the id names this container and no other.
func (a *Attached) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	err := a.engine.ContainerKill(ctx, a.ID, "SIGKILL")
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
		return fmt.Errorf("kill the agent's container %.12s: %w", a.ID, err)
	}
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the agent's container %.12s was killed and does not end", a.ID)
	}
}

// Done is closed once it has ended and all it said can be read.
func (a *Attached) Done() <-chan struct{} { return a.done }

// LastWords is the end of its stderr.
func (a *Attached) LastWords() string { return a.said.String() }

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/docker/docker/client"

	"chaosrunner/builtins/fault"
)

// An engine is the Docker engine that the environment names; or none, where only
// what is on this host itself is meant.
type engine struct {
	*client.Client
	id, version string
	missing     error // why there is none
}

var _ fault.Engine = (*engine)(nil)

// EnvEngine names the id of the engine that must be meant; empty: any. Whoever
// starts an agent in a container sees that its socket is the same engine's.
const EnvEngine = "RUNNER_ENGINE"

const engineTimeout = 10 * time.Second // of a call that only asks

// dial reaches the engine that DOCKER_HOST and its companions name, as the
// docker command does.
func dial(ctx context.Context) (*engine, error) {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("agent: DOCKER_HOST: %w", err)
	}
	e := &engine{Client: c}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	// The ping negotiates the version.
	_, err = c.Ping(ctx)
	if err == nil {
		info, err := c.Info(ctx)
		if err != nil {
			return nil, errors.Join(e.away(err), c.Close())
		}
		e.id, e.version = info.ID, info.ServerVersion
	}
	if err == nil && e.id == "" {
		err = errors.New("it does not tell its id")
	}
	if want := os.Getenv(EnvEngine); err == nil && want != "" && want != e.id {
		err = fmt.Errorf("agent: the socket mounted here is that of engine %s, the run is on engine %s: "+
			"name the socket on the engine's own host with --agent-socket", e.id, want)
	}
	if err != nil {
		return nil, errors.Join(e.away(err), c.Close())
	}
	return e, nil
}

// noEngine stands for the engine on a host without one. Whatever is asked of it
// fails as it would of one that is away.
func noEngine(why error) (*engine, error) {
	c, err := client.NewClientWithOpts(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("agent: DOCKER_HOST: %w", err)
	}
	return &engine{Client: c, id: hostID(), missing: why}, nil
}

// hostID names this host, as an engine's id names that. It outlives a reboot.
func hostID() string {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if raw, err := os.ReadFile(path); err == nil && len(bytes.TrimSpace(raw)) > 0 {
			return "host-" + string(bytes.TrimSpace(raw))
		}
	}
	name, _ := os.Hostname() // without it all hosts without a name are one
	return "host-" + name
}

// away says what to do about an engine that does not answer.
func (e *engine) away(err error) error {
	if err == nil || !client.IsErrConnectionFailed(err) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("agent: the Docker engine at %s does not answer: %w; does it hang?", e.DaemonHost(), err)
	}
	return fmt.Errorf("agent: cannot reach the Docker engine at %s: %w", e.DaemonHost(), err)
}

func (e *engine) ask(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, engineTimeout)
}

package place

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"

	"chaosrunner/runner/agent"
)

// Used says whether container agents have ever had ledgers here.
func (p *Container) Used(ctx context.Context) bool {
	_, err := p.engine.VolumeInspect(ctx, p.Volume)
	return err == nil
}

// Status is agent.Status of the ledgers on the volume.
func (p *Container) Status(ctx context.Context) (runs []agent.RunStatus, err error) {
	return runs, p.ask(ctx, &runs, "status", "--json", "--agent", Local)
}

// Stop is agent.Stop of the runs whose ledgers are on the volume: from a
// container beside theirs, which sees the same processes and the same locks.
func (p *Container) Stop(ctx context.Context, run string) (stopped []agent.Stopped, err error) {
	args := []string{"stop", "--json", "--agent", Local}
	if run != "" {
		args = append(args, run)
	}
	return stopped, errors.Join(p.killPaused(ctx), p.ask(ctx, &stopped, args...))
}

// killPaused kills agents whose containers are paused: a signal does not reach
// them until the engine thaws them. Their ledgers tell what to undo.
func (p *Container) killPaused(ctx context.Context) error {
	paused, err := p.list(ctx, filters.Arg("status", "paused"), filters.Arg("label", labelVolume+"="+p.Volume))
	failed := []error{err}
	for _, c := range paused {
		err := p.engine.ContainerKill(ctx, c.ID, "SIGKILL")
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			failed = append(failed, fmt.Errorf("kill the paused agent's container %.12s: %w", c.ID, err))
		}
	}
	return errors.Join(failed...)
}

// ask runs this program with args in a container and decodes what it prints.
func (p *Container) ask(ctx context.Context, out any, args ...string) error {
	if !p.Used(ctx) { // it is not made just to find it empty
		return nil
	}
	p.sweep(ctx)
	a, err := p.run(ctx, args...)
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // nothing was written
	said, err := io.ReadAll(a)
	<-a.Done()
	words := strings.TrimSpace(strings.TrimPrefix(a.LastWords(), "runner: "))
	if err == nil {
		err = json.Unmarshal(said, out)
	}
	if err != nil {
		return fmt.Errorf("agent container: %s: %w: %s", args[0], err, words)
	}
	if words != "" {
		return errors.New(words)
	}
	return nil
}

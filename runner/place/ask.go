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

// Used says whether container agents may ever have had ledgers here.
func (p *Container) Used(ctx context.Context) bool {
	if p.Ledgers.Volume == "" {
		return true // it is seen from the engine's host only
	}
	_, err := p.engine.VolumeInspect(ctx, p.Ledgers.Volume)
	return err == nil
}

// Status is agent.Status of the ledgers there.
func (p *Container) Status(ctx context.Context) (runs []agent.RunStatus, err error) {
	return runs, p.ask(ctx, &runs, "status", "--json", "--agent", Local)
}

// Stop is agent.Stop of the runs whose ledgers are there: from a container
// beside theirs, which sees the same processes and the same locks.
func (p *Container) Stop(ctx context.Context, run string) (stopped []agent.Stopped, err error) {
	args := []string{"stop", "--json", "--agent", Local}
	if run != "" {
		args = append(args, run)
	}
	return stopped, errors.Join(p.KillPaused(ctx), p.ask(ctx, &stopped, args...))
}

// KillPaused kills agents whose containers are paused: a signal does not reach
// them until the engine thaws them. Their ledgers tell what to undo.
func (p *Container) KillPaused(ctx context.Context) error {
	paused, err := p.list(ctx, filters.Arg("status", "paused"), filters.Arg("label", labelLedgers+"="+p.Ledgers.String()))
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
	a, err := p.run(ctx, append(args, p.Ledgers.flags()...)...)
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

package main

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"sync"

	"chaosrunner/runner/agent"
	"chaosrunner/runner/agent/ledger"
	"chaosrunner/runner/place"
	"chaosrunner/runner/supervise"
)

// agents says where a run's agents are started.
func (f *flags) agents(ctx context.Context, opt *supervise.Options) error {
	kind, err := f.kind(ctx)
	if err != nil {
		return err
	}
	if kind == place.Local {
		opt.Agent = func(context.Context) (supervise.Process, error) { return local(opt.Exe) }
		return nil
	}
	box, err := f.container(ctx)
	if err != nil {
		return err
	}
	opt.State = box.Ledgers.State // none of a volume: it is where an agent looks by itself
	opt.Agent = func(ctx context.Context) (supervise.Process, error) {
		p, err := box.Start(ctx)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	return nil
}

func local(exe string) (supervise.Process, error) {
	p, err := place.StartChild(exe)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// kind is where agents run. Only containers have volumes.
func (f *flags) kind(ctx context.Context) (string, error) {
	if f.volume == "" {
		return place.Choose(ctx, f.agent)
	}
	if f.agent == place.Local {
		return "", errors.New("--volume: it has the ledgers of agents in containers, got --agent local")
	}
	return place.InsideOne, nil
}

func (f *flags) container(ctx context.Context) (*place.Container, error) {
	return place.NewContainer(ctx, place.Ledgers{State: f.state, Volume: f.volume}, f.socket)
}

// status asks every place there may be runs.
func (f *flags) status(ctx context.Context) ([]agent.RunStatus, error) {
	local, box, err := f.places(ctx)
	all := []agent.RunStatus{}
	if local {
		runs, localErr := agent.Status(f.state)
		all, err = append(all, runs...), errors.Join(err, localErr)
	}
	if box != nil {
		runs, boxErr := box.Status(ctx)
		all, err = append(all, runs...), errors.Join(err, boxErr)
	}
	return all, err
}

// stop presses the red button in every place there may be runs, at once.
func (f *flags) stop(ctx context.Context, run string) ([]agent.Stopped, error) {
	local, box, err := f.places(ctx)
	if local && box != nil {
		return f.stopBoth(ctx, box, run)
	}
	if box != nil {
		return box.Stop(ctx, run)
	}
	err = errors.Join(err, f.killPaused(ctx))
	stopped, localErr := agent.Stop(ctx, f.state, run)
	return stopped, errors.Join(err, localErr)
}

// killPaused kills the agents in paused containers whose ledgers lie where a
// child's do: a signal of ours does not reach them.
func (f *flags) killPaused(ctx context.Context) error {
	state, err := filepath.Abs(cmp.Or(f.state, ledger.Default))
	if err != nil {
		return err
	}
	box, err := place.NewContainer(ctx, place.Ledgers{State: state}, f.socket)
	if err != nil {
		return nil // without an engine nobody has paused one
	}
	return box.KillPaused(ctx)
}

func (f *flags) stopBoth(ctx context.Context, box *place.Container, run string) (all []agent.Stopped, err error) {
	var inside []agent.Stopped
	var insideErr error
	paused := f.killPaused(ctx)
	var both sync.WaitGroup
	both.Go(func() { inside, insideErr = box.Stop(ctx, run) })
	all, err = agent.Stop(ctx, f.state, run)
	both.Wait()
	all = append(all, inside...)
	if run != "" && len(all) > 0 { // it is in one of the two; the other has not found it
		return all, nil
	}
	return all, errors.Join(paused, err, insideErr)
}

// places says where to look for runs: with auto in both, if the engine has the
// volume. Where the engine does not answer, there is the local one.
func (f *flags) places(ctx context.Context) (local bool, box *place.Container, err error) {
	kind, err := f.kind(ctx)
	if err != nil {
		return false, nil, err
	}
	if kind == place.InsideOne {
		box, err = f.container(ctx)
		return false, box, err
	}
	if f.agent == place.Auto && f.state == "" {
		box, err := place.NewContainer(ctx, place.Ledgers{Volume: place.DefaultVolume}, f.socket)
		if err == nil && box.Used(ctx) {
			return true, box, nil
		}
	}
	return true, nil, nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"chaosrunner/runner/agent"
	"chaosrunner/runner/place"
	"chaosrunner/runner/supervise"
)

// agents says where a run's agents are started. In a container --state names
// the volume of the ledgers.
func (f *flags) agents(ctx context.Context, opt *supervise.Options) error {
	kind, err := place.Choose(ctx, f.agent)
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
	opt.State = "" // the volume is mounted where an agent looks by itself
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

func (f *flags) container(ctx context.Context) (*place.Container, error) {
	return place.NewContainer(ctx, cmp.Or(f.state, place.DefaultVolume), f.socket)
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
	stopped, localErr := agent.Stop(ctx, f.state, run)
	return stopped, errors.Join(err, localErr)
}

func (f *flags) stopBoth(ctx context.Context, box *place.Container, run string) (all []agent.Stopped, err error) {
	var inside []agent.Stopped
	var insideErr error
	var both sync.WaitGroup
	both.Go(func() { inside, insideErr = box.Stop(ctx, run) })
	all, err = agent.Stop(ctx, f.state, run)
	both.Wait()
	all = append(all, inside...)
	if run != "" && len(all) > 0 { // it is in one of the two; the other has not found it
		return all, nil
	}
	return all, errors.Join(err, insideErr)
}

// places says where to look for runs: with auto in both, if the engine has the
// volume. Where the engine does not answer, there is the local one.
func (f *flags) places(ctx context.Context) (local bool, box *place.Container, err error) {
	kind, err := place.Choose(ctx, f.agent)
	if err != nil {
		return false, nil, err
	}
	if kind == place.InsideOne {
		box, err = f.container(ctx)
		return false, box, err
	}
	if f.agent == place.Auto && f.state == "" {
		if box, err := f.container(ctx); err == nil && box.Used(ctx) {
			return true, box, nil
		}
	}
	return true, nil, nil
}

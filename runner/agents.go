package main

import (
	"cmp"
	"context"

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

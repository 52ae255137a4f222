package qdisc

import (
	"fmt"
	"sync"
	"time"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
)

// A trial finds out what the kernel has, in a namespace of its own that nobody
// uses.
type trial struct {
	mu   sync.Mutex
	done bool
	in   error // what it lacks for incoming packets
}

// Available implements [netem.Engine].
func (e *Engine) Available(int) error {
	t := &e.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return nil
	}
	ns, err := netns.Fresh()
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // nothing was written to it
	c, err := dial(ns.Fd())
	if err != nil {
		return err
	}
	defer c.close()
	const base, loopback = 0x1000, 1
	job := netem.Emulation{Delay: time.Millisecond}
	for _, step := range []struct {
		lacks string
		try   func() error
	}{
		{"sch_prio", func() error { return c.prio(loopback, base, firstBand, nil) }},
		{"sch_netem", func() error { return c.netem(loopback, base, firstBand, job, creates) }},
		{"cls_bpf", func() error { return c.filter(loopback, base, firstBand, netem.Filter{}, true) }},
	} {
		if err := step.try(); err != nil {
			return fmt.Errorf("this kernel lacks %s: %w", step.lacks, err)
		}
	}
	ifb, err := c.ifb(base)
	if err == nil {
		err = c.divert([]link{{loopback, "lo"}}, base, ifb, nil)
	}
	if err != nil {
		t.in = fmt.Errorf("this kernel lacks ifb, sch_ingress or act_mirred: %w", err)
	}
	t.done = true
	return nil
}

func (t *trial) incoming() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.in
}

package qdisc

import (
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
)

// A trial finds out what the kernel has, in a namespace of its own that nobody
// uses.
type trial struct {
	mu   sync.Mutex
	done bool
	all  error // what it lacks for anything
	in   error // what it lacks for incoming packets
}

// Available implements [netem.Engine].
func (e *Engine) Available(int) error {
	t := &e.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.done {
		t.all, t.in = e.try()
		t.done = true
	}
	return t.all
}

// try puts everything on the loopback of a fresh namespace. in is what speaks
// against incoming packets alone.
func (e *Engine) try() (all, in error) {
	ns, err := netns.Fresh()
	if err != nil {
		return err, nil
	}
	defer ns.Close() //nolint:errcheck // nothing was written to it
	c, err := e.dial(ns.Fd())
	if err != nil {
		return err, nil
	}
	defer c.close()
	const base, loopback = 0x1000, 1
	late := netem.Emulation{Delay: time.Millisecond}
	alone := on(loopback, nl.TcMsg{Handle: rootOf(base), Parent: root})
	for _, step := range []struct {
		lacks string
		try   func() error
	}{
		{"sch_netem", func() error { return c.do(unix.RTM_NEWQDISC, creates, alone, kindOf("netem"), options(late, false)) }},
		{"sch_netem", func() error { return c.do(unix.RTM_DELQDISC, 0, alone) }},
		{"sch_prio", func() error { return c.prio(loopback, base, firstBand, nil) }},
		{"cls_bpf", func() error { return c.filter(loopback, base, firstBand, netem.Filter{}, true) }},
	} {
		if err := step.try(); err != nil {
			return fmt.Errorf("this kernel lacks %s: %w", step.lacks, err), nil
		}
	}
	ifb, err := c.ifb(base)
	if err == nil {
		err = c.divert([]link{{loopback, "lo"}}, base, ifb, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("this kernel lacks ifb, sch_ingress or act_mirred: %w", err)
	}
	return nil, nil
}

func (t *trial) incoming() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.in
}

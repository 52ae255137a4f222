//go:build netem

package qdisc

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// BenchmarkApply is the time from a job to a kernel that does it, in one and in
// fifty namespaces, beside what `nsenter … tc` takes. Undos are not counted.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 50} {
		var all []*netns.Namespace
		for range n {
			ns := scratch.Namespace(b)
			must(b, ns.Inside(func() error {
				attrs := netlink.NewLinkAttrs()
				attrs.Name, attrs.Flags = "eth0", net.FlagUp
				return netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
			}))
			all = append(all, ns)
		}
		b.Run(fmt.Sprintf("%d/netlink", n), func(b *testing.B) { benchEngine(b, all) })
		b.Run(fmt.Sprintf("%d/nsenter-tc", n), func(b *testing.B) { benchTc(b, all) })
	}
}

func benchEngine(b *testing.B, all []*netns.Namespace) {
	e := New()
	must(b, e.Available(0))
	job := newJob(netem.Filter{}, netem.Emulation{Delay: 100 * ms})
	for b.Loop() {
		var in []netem.Held
		for _, ns := range all {
			record, err := e.Prepare(context.Background(), ns.Fd(), job)
			must(b, err)
			h, err := e.Apply(context.Background(), ns.Fd(), job, record)
			must(b, err)
			in = append(in, h)
		}
		b.StopTimer()
		for _, h := range in {
			mustUndo(b, h)
		}
		b.StartTimer()
	}
}

func benchTc(b *testing.B, all []*netns.Namespace) {
	for b.Loop() {
		for _, ns := range all {
			path := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns.Fd())
			if out, err := exec.Command("nsenter", path, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "100ms").CombinedOutput(); err != nil {
				b.Fatalf("tc: %v\n%s", err, out)
			}
		}
		b.StopTimer()
		for _, ns := range all {
			must(b, clear(ns))
		}
		b.StartTimer()
	}
}

// clear deletes what stands at the root of eth0.
func clear(ns *netns.Namespace) error {
	c, err := New().dial(ns.Fd())
	if err != nil {
		return err
	}
	defer c.close()
	l, err := c.handle.LinkByName("eth0")
	if err != nil {
		return err
	}
	return c.do(unix.RTM_DELQDISC, 0, on(l.Attrs().Index, nl.TcMsg{Parent: root}))
}

// Package scratch makes network namespaces for tests. They have no name and
// no holder but the test: a killed test leaves nothing.
//
//	┌ a ─────────────┐                ┌ b ─────────────┐
//	│ eth0 10.77.0.1 │ ──── veth ──── │ 10.77.0.2 eth0 │
//	│      fd77::1   │                │ fd77::2        │
//	└────────────────┘                └────────────────┘
package scratch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netns"
)

// The addresses of the two ends of a Pair.
var (
	A4, B4 = netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	A6, B6 = netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd77::2")
)

// Root skips where the caller is not root, but fails in CI, where it must be.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root (network namespaces), and CI must have it")
	}
	t.Skip("needs root (network namespaces)")
}

// Namespace makes a namespace with its loopback up.
func Namespace(t testing.TB) *netns.Namespace {
	t.Helper()
	Root(t)
	n, err := netns.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() }) // nothing was written to it
	must(t, n.Inside(func() error { return up("lo") }))
	return n
}

// Pair makes two namespaces joined by a veth pair.
func Pair(t testing.TB) (a, b *netns.Namespace) {
	t.Helper()
	a, b = Namespace(t), Namespace(t)
	must(t, a.Inside(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		attrs.Index = 77 // unlike its peer's: the kernel waits a second with a link that looks like no pair
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.Fd())})
	}))
	must(t, a.Inside(func() error { return address("eth0", A4, A6) }))
	must(t, b.Inside(func() error { return address("eth0", B4, B6) }))
	must(t, a.Inside(reach))
	return a, b
}

// reach waits until b answers: the kernel takes up to a second to notice that
// a link is up, and IPv6 has to find its neighbour first.
func reach() (err error) {
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		for _, to := range []netip.Addr{B4, B6} {
			_, err = net.DialTimeout("tcp", netip.AddrPortFrom(to, 9).String(), 50*time.Millisecond)
			if !errors.Is(err, unix.ECONNREFUSED) {
				break
			}
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("the pair is not connected: %w", err)
}

func address(name string, addrs ...netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		ip := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen()-8, a.BitLen())}}
		if a.Is6() {
			ip.Flags = unix.IFA_F_NODAD // else it cannot be used for a second or two
		}
		if err := netlink.AddrAdd(link, ip); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return up(name)
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

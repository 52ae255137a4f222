package probe

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns/scratch"
)

const long = 30 * time.Second // an answer that comes at all ends the wait

// Each kind of probe is answered by a kernel, whether a program listens or not,
// and the program hears nothing.
func TestAnswered(t *testing.T) {
	a, b := scratch.Pair(t)
	var heard net.Listener
	if err := b.Inside(func() (err error) {
		heard, err = net.Listen("tcp", ":8080")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer heard.Close() //nolint:errcheck // of a test
	connected := make(chan error, 1)
	go func() {
		conn, err := heard.Accept()
		if err == nil {
			_ = conn.Close()
		}
		connected <- err
	}()
	for _, peer := range []netip.Addr{scratch.B4, scratch.B6} {
		for name, f := range map[string]netem.Filter{
			"icmp":          {},
			"tcp, closed":   {Protocol: "tcp"},
			"tcp, open":     {Protocol: "tcp", PeerPort: 8080},
			"a port of its": {Port: 5000},
			"a share":       {Share: 0.5},
		} {
			p, err := To(a.Fd(), f, peer)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if took, ok := p.Round(long); !ok || took <= 0 {
					t.Errorf("%v %s: not answered", peer, name)
				}
			}
			p.Close()
		}
	}
	select {
	case err := <-connected:
		t.Errorf("a program has heard of a probe (%v)", err)
	default:
	}
}

func TestFind(t *testing.T) {
	a, _ := scratch.Pair(t)
	for _, peer := range []netip.Addr{scratch.B4, scratch.B6} { // a new link takes a second to be one
		p, err := To(a.Fd(), netem.Filter{}, peer)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := p.Round(long); !ok {
			t.Fatalf("%v does not answer", peer)
		}
		p.Close()
	}
	for _, c := range []struct {
		f    netem.Filter
		want netip.Addr
	}{
		{netem.Filter{Peers: []netip.Prefix{netip.PrefixFrom(scratch.B4, 32)}}, scratch.B4},
		{netem.Filter{Peers: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.PrefixFrom(scratch.B6, 128)}}, scratch.B6},
		{netem.Filter{Peers: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}}, scratch.B4}, // a neighbour by now
	} {
		p, took, err := Find(a.Fd(), c.f)
		if err != nil {
			t.Errorf("%v: %v", c.f, err)
			continue
		}
		if p.Peer() != c.want || took <= 0 {
			t.Errorf("%v: got %v after %v, want %v", c.f, p.Peer(), took, c.want)
		}
		p.Close()
	}
	for _, f := range []netem.Filter{
		{Protocol: "udp"},
		{Peers: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}, // no route
		{Peers: []netip.Prefix{netip.MustParsePrefix("10.77.0.9/32")}}, // nobody there
		{Peers: []netip.Prefix{netip.PrefixFrom(scratch.A4, 32)}},      // itself
		{Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},  // never touched
	} {
		if p, _, err := Find(a.Fd(), f); !errors.Is(err, ErrNone) {
			t.Errorf("%v: got %v, %v; want that nothing can be probed", f, p, err)
		}
	}
}

// A peer that is gone does not answer, and is not waited for beyond the time.
func TestUnanswered(t *testing.T) {
	a, b := scratch.Pair(t)
	p, err := To(a.Fd(), netem.Filter{}, scratch.B4)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, ok := p.Round(long); !ok {
		t.Fatal("not answered")
	}
	if err := b.Inside(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link)
	}); err != nil {
		t.Fatal(err)
	}
	if took, ok := p.Round(50 * time.Millisecond); ok {
		t.Errorf("answered after %v by nobody", took)
	}
}

package nft

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// TestMain also plays the process that dies while it holds a table.
func TestMain(m *testing.M) {
	if os.Getenv("NFT_HOLDER") == "" {
		os.Exit(m.Run())
	}
	l, err := NewTables().Layer(3)
	if err == nil {
		err = l.Set(Rule{Filter: netem.Filter{Direction: netem.Both}, Out: Drop(), In: Drop()})
	}
	fmt.Println("holds", err)
	select {}
}

func TestAKilledHolderLeavesNothing(t *testing.T) {
	a, b := scratch.Pair(t)
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "NFT_HOLDER=1")
	holder.ExtraFiles = []*os.File{a.File()}
	holder.Stderr = os.Stderr
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }() // killed
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "holds <nil>\n" {
		t.Fatalf("the holder says %q (%v)", line, err)
	}
	names := list(t, a)
	if len(names) != 1 {
		t.Fatalf("got tables %v, want one", names)
	}
	if err := Remove(a.Fd(), names[0]); err == nil || !strings.Contains(err.Error(), "alive") {
		t.Errorf("remove the table of a live process: got %v", err)
	}
	if send(t, a, b, 1, 2, false) {
		t.Error("a packet passes while all are dropped")
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // killed
	if names := list(t, a); len(names) != 0 {
		t.Errorf("after its holder was killed, table %v is there", names)
	}
	if !send(t, a, b, 1, 2, true) {
		t.Error("no packet passes after the holder was killed")
	}
	if err := Remove(a.Fd(), names[0]); err != nil {
		t.Errorf("remove a table that is gone: %v", err)
	}
}

func TestRemoveTakesOnlyOurTables(t *testing.T) {
	n := scratch.Namespace(t)
	if err := Remove(n.Fd(), "filter"); err == nil {
		t.Error("a table that is not ours may be removed")
	}
}

// Which packets a filter means, both ways, of those that a (port 1000) and b
// (port 2000) exchange.
func TestFilters(t *testing.T) {
	peers := func(s ...string) (all []netip.Prefix) {
		for _, p := range s {
			all = append(all, netip.MustParsePrefix(p))
		}
		return all
	}
	a, b := scratch.Pair(t)
	for _, c := range []struct {
		name             string
		f                netem.Filter
		out4, out6, back bool // dropped: a→b, a→b over IPv6, b→a
	}{
		{"out", netem.Filter{Direction: netem.Out}, true, true, false},
		{"in", netem.Filter{Direction: netem.In}, false, false, true},
		{"both", netem.Filter{Direction: netem.Both}, true, true, true},
		{"peer", netem.Filter{Direction: netem.Both, Peers: peers("10.77.0.2/32")}, true, false, true},
		{"peer 6", netem.Filter{Direction: netem.Both, Peers: peers("fd77::2/128")}, false, true, false},
		{"network", netem.Filter{Direction: netem.Both, Peers: peers("10.64.0.0/12")}, true, false, true},
		{"mapped", netem.Filter{Direction: netem.Both, Peers: peers("::ffff:10.77.0.2/128")}, true, false, true},
		{"all of IPv6", netem.Filter{Direction: netem.Both, Peers: peers("::/0")}, false, true, false},
		{"peers", netem.Filter{Direction: netem.Both, Peers: peers("1.2.3.4/32", "fd77::/16", "10.77.0.2/31")}, true, true, true},
		{"other", netem.Filter{Direction: netem.Both, Peers: peers("10.77.0.3/32", "10.77.0.1/32", "10.78.0.0/16", "fd78::/16")}, false, false, false},
		{"udp", netem.Filter{Direction: netem.Both, Protocol: "udp"}, true, true, true},
		{"tcp", netem.Filter{Direction: netem.Both, Protocol: "tcp"}, false, false, false},
		{"icmp", netem.Filter{Direction: netem.Both, Protocol: "icmp"}, false, false, false},
		{"port", netem.Filter{Direction: netem.Both, Port: 1000}, true, true, true},
		{"not the peer's", netem.Filter{Direction: netem.Both, Port: 2000}, false, false, false},
		{"peer port", netem.Filter{Direction: netem.Both, PeerPort: 2000, Protocol: "udp"}, true, true, true},
		{"not ours", netem.Filter{Direction: netem.Both, PeerPort: 1000}, false, false, false},
		{"all at once", netem.Filter{Direction: netem.Out, Peers: peers("10.77.0.2/32"), Protocol: "udp", Port: 1000, PeerPort: 2000}, true, false, false},
	} {
		l, err := NewTables().Layer(a.Fd())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Set(Rule{Filter: c.f, Out: Drop(), In: Drop()}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		want := [3]bool{c.out4, c.out6, c.back}
		got := [3]bool{
			!send(t, a, b, 1000, 2000, !c.out4),
			!sendOver(t, a, b, scratch.B6.String(), 1000, 2000, !c.out6),
			!send(t, b, a, 2000, 1000, !c.back),
		}
		if got != want {
			t.Errorf("%s: dropped (IPv4, IPv6, back) %v, want %v", c.name, got, want)
		}
		n := uint64(0)
		for _, drop := range got {
			if drop {
				n++
			}
		}
		// IPv6 sends some packets by itself, its multicast reports.
		packets, bytes, err := l.Counts()
		if packets < n || c.f.Protocol == "udp" && packets != n || bytes < 29*n || err != nil {
			t.Errorf("%s: counted %d packets and %d bytes (%v), want %d packets", c.name, packets, bytes, err, n)
		}
		if !sendOver(t, a, a, "127.0.0.1", 1000, 2000, true) {
			t.Errorf("%s: loopback is touched", c.name)
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if names := list(t, a); len(names) != 0 {
			t.Fatalf("%s: left %v", c.name, names)
		}
	}
}

// The table goes with its last layer, a layer's rules with the layer.
func TestLayers(t *testing.T) {
	a, b := scratch.Pair(t)
	ts := NewTables()
	layer := func() *Layer {
		t.Helper()
		l, err := ts.Layer(a.Fd())
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first, second := layer(), layer()
	if first.Passed() >= second.Passed() {
		t.Errorf("got %#x for the first layer, %#x for the second", first.Passed(), second.Passed())
	}
	for _, l := range []*Layer{first, second} {
		if !l.Held() {
			t.Error("this kernel has no owner flag, but should")
		}
		if err := l.Set(Rule{Filter: netem.Filter{Direction: netem.Out}, Out: Drop()}); err != nil {
			t.Fatal(err)
		}
	}
	passes := func(want bool) {
		t.Helper()
		if got := send(t, a, b, 1, 2, want); got != want {
			t.Errorf("a packet passes: %v, want %v", got, want)
		}
	}
	passes(false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	passes(false)
	if err := second.Set(); err != nil {
		t.Fatal(err)
	}
	passes(true)
	if again := layer(); again.place != first.place {
		t.Errorf("got place %d, want the free one, %d", again.place, first.place)
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := second.Set(); err == nil {
		t.Error("a closed layer takes rules")
	}
	if names := list(t, a); len(names) != 0 {
		t.Errorf("left %v", names)
	}
}

// What a program sends is dropped without a word to it.
func TestDroppedSendIsSilent(t *testing.T) {
	a, _ := scratch.Pair(t)
	l, err := NewTables().Layer(a.Fd())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Set(Rule{Filter: netem.Filter{Direction: netem.Out}, Out: Drop()}); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, a, scratch.B4.String(), 1, 2)
	for range 3 {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Errorf("send: %v", err)
		}
	}
}

func list(t *testing.T, n *netns.Namespace) []string {
	t.Helper()
	names, err := List(n.Fd())
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func send(t *testing.T, from, to *netns.Namespace, port, peer int, want bool) bool {
	t.Helper()
	addr := scratch.B4
	if port == 2000 {
		addr = scratch.A4
	}
	return sendOver(t, from, to, addr.String(), port, peer, want)
}

func dial(t *testing.T, n *netns.Namespace, addr string, port, peer int) (conn net.Conn) {
	t.Helper()
	err := n.Inside(func() (err error) {
		conn, err = net.DialUDP("udp", &net.UDPAddr{Port: port}, &net.UDPAddr{IP: net.ParseIP(addr), Port: peer})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // UDP
	return conn
}

// sendOver sends a packet, and says whether it came. What should come has much
// time to, what should not has little.
func sendOver(t *testing.T, from, to *netns.Namespace, addr string, port, peer int, want bool) (came bool) {
	t.Helper()
	var in *net.UDPConn
	err := to.Inside(func() (err error) {
		in, err = net.ListenUDP("udp", &net.UDPAddr{Port: peer})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out := dial(t, from, addr, port, peer)
	defer out.Close()
	if _, err := out.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	wait := 20 * time.Millisecond
	if want {
		wait = 30 * time.Second
	}
	_ = in.SetReadDeadline(time.Now().Add(wait)) // never fails
	_, err = in.Read(make([]byte, 1))
	return err == nil
}

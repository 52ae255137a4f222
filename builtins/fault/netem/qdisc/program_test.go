//go:build !netem

// It needs no kernel that has netem.

package qdisc

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"chaosrunner/builtins/fault/netem"
)

// A packet is what a program looks at.
type packet struct {
	from, to     string
	protocol     byte
	sport, dport uint16
	fragment     uint16 // the field of an IPv4 header
	icmpType     byte
}

const (
	icmp   = 1
	tcp    = 6
	udp    = 17
	icmpv6 = 58
)

func (p packet) bytes() []byte {
	from, to := netip.MustParseAddr(p.from), netip.MustParseAddr(p.to)
	var raw []byte
	if from.Is4() {
		raw = make([]byte, 24) // with an option: ports are not always at 20
		raw[0], raw[9] = 0x46, p.protocol
		binary.BigEndian.PutUint16(raw[6:], p.fragment)
		copy(raw[12:], from.AsSlice())
		copy(raw[16:], to.AsSlice())
	} else {
		raw = make([]byte, 40)
		raw[0], raw[6] = 0x60, p.protocol
		copy(raw[8:], from.AsSlice())
		copy(raw[24:], to.AsSlice())
	}
	ports := []byte{p.icmpType, 0, 0, 0}
	if p.protocol != icmp && p.protocol != icmpv6 {
		ports = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, p.sport), p.dport)
	}
	return append(append(raw, ports...), make([]byte, 8)...)
}

// meant runs a program outside the kernel, which looks for the header elsewhere.
func meant(t *testing.T, f netem.Filter, out bool, raw []byte) bool {
	t.Helper()
	code, err := compile(f, out, 0)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(raw)
	if err != nil {
		t.Fatal(err)
	}
	return n != 0
}

func prefixes(all ...string) (ps []netip.Prefix) {
	for _, p := range all {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

func TestProgram(t *testing.T) {
	web := packet{from: "10.0.0.1", to: "10.0.0.2", protocol: tcp, sport: 8080, dport: 40000}
	six := packet{from: "fd00::1", to: "fd00:1:2:3::4", protocol: udp, sport: 8080, dport: 53}
	with := func(p packet, change func(*packet)) packet { change(&p); return p }
	for _, c := range []struct {
		f       netem.Filter
		p       packet
		out, in bool // whether it is meant, going out and coming in
	}{
		{netem.Filter{}, web, true, true},
		{netem.Filter{}, six, true, true},
		{netem.Filter{Protocol: "tcp"}, web, true, true},
		{netem.Filter{Protocol: "udp"}, web, false, false},
		{netem.Filter{Protocol: "udp"}, six, true, true},
		{netem.Filter{Protocol: "icmp"}, web, false, false},
		{netem.Filter{Protocol: "icmp"}, packet{from: "10.0.0.1", to: "10.0.0.2", protocol: icmp, icmpType: 8}, true, true},
		{netem.Filter{Protocol: "icmp"}, packet{from: "fd00::1", to: "fd00::2", protocol: icmpv6, icmpType: 128}, true, true},
		{netem.Filter{Protocol: "icmp"}, packet{from: "10.0.0.1", to: "10.0.0.2", protocol: icmpv6, icmpType: 128}, false, false},
		{netem.Filter{}, packet{from: "fd00::1", to: "fd00::2", protocol: icmpv6, icmpType: 132}, true, true},
		{netem.Filter{}, packet{from: "fd00::1", to: "fd00::2", protocol: icmpv6, icmpType: 133}, false, false}, // discovery
		{netem.Filter{}, packet{from: "fd00::1", to: "fd00::2", protocol: icmpv6, icmpType: 137}, false, false},
		{netem.Filter{}, packet{from: "fd00::1", to: "fd00::2", protocol: icmpv6, icmpType: 138}, true, true},
		{netem.Filter{}, packet{from: "10.0.0.1", to: "10.0.0.2", protocol: udp, sport: 135 << 8}, true, true},
		{netem.Filter{Port: 8080}, web, true, false},
		{netem.Filter{Port: 40000}, web, false, true},
		{netem.Filter{PeerPort: 40000}, web, true, false},
		{netem.Filter{PeerPort: 8080}, web, false, true},
		{netem.Filter{Port: 8080, PeerPort: 53}, six, true, false},
		{netem.Filter{Port: 53, PeerPort: 8080, Protocol: "udp"}, six, false, true},
		{netem.Filter{Port: 8080}, with(web, func(p *packet) { p.fragment = 0x2000 }), true, false}, // the first, has ports
		{netem.Filter{Port: 8080}, with(web, func(p *packet) { p.fragment = 0x2010 }), false, false},
		{netem.Filter{Port: 8080}, packet{from: "10.0.0.1", to: "10.0.0.2", protocol: 47, sport: 8080}, false, false}, // GRE has none
		{netem.Filter{Peers: prefixes("10.0.0.2/32")}, web, true, false},
		{netem.Filter{Peers: prefixes("10.0.0.1/32")}, web, false, true},
		{netem.Filter{Peers: prefixes("192.168.0.0/16", "10.0.0.0/31")}, web, false, true},
		{netem.Filter{Peers: prefixes("0.0.0.0/0")}, web, true, true},
		{netem.Filter{Peers: prefixes("0.0.0.0/0")}, six, false, false},
		{netem.Filter{Peers: prefixes("::/0")}, six, true, true},
		{netem.Filter{Peers: prefixes("::/0")}, web, false, false},
		{netem.Filter{Peers: prefixes("fd00:1:2:3::4/128")}, six, true, false},
		{netem.Filter{Peers: prefixes("fd00:1:2::/47")}, six, true, false},
		{netem.Filter{Peers: prefixes("fd00:1:2:2::/63")}, six, true, false},
		{netem.Filter{Peers: prefixes("fd00:1:2:2::/64")}, six, false, false},
		{netem.Filter{Peers: prefixes("10.0.0.2/32", "fd00::/64")}, six, false, true},
		{netem.Filter{Peers: prefixes("::ffff:10.0.0.2/128")}, web, true, false},
	} {
		if got := meant(t, c.f, true, c.p.bytes()); got != c.out {
			t.Errorf("%s, going out: %+v: got %v, want %v", c.f, c.p, got, c.out)
		}
		if got := meant(t, c.f, false, c.p.bytes()); got != c.in {
			t.Errorf("%s, coming in: %+v: got %v, want %v", c.f, c.p, got, c.in)
		}
	}
}

// What is no IP packet is not meant, and a packet that is cut off does no harm.
func TestProgramOnOthers(t *testing.T) {
	arp := []byte{0, 1, 8, 0, 6, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if meant(t, netem.Filter{}, true, arp) {
		t.Error("ARP is meant")
	}
	f := netem.Filter{Port: 8080, Share: .9, Peers: prefixes("10.0.0.2/32", "fd00::/8")}
	for _, p := range []packet{{from: "10.0.0.1", to: "10.0.0.2", protocol: tcp, sport: 8080}, {from: "fd00::1", to: "fd00::2", protocol: tcp, sport: 8080}} {
		whole := p.bytes()
		for n := range len(whole) - 8 {
			meant(t, f, true, whole[:n])
		}
	}
}

// A share is near what was asked, and the same both ways, whatever the flow.
func TestProgramsShare(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	v4 := func() string { return fmt.Sprintf("10.0.%d.%d", rnd.IntN(256), rnd.IntN(256)) }
	v6 := func() string { return fmt.Sprintf("fd00::%x", rnd.IntN(65536)) }
	for name, flow := range map[string]func() packet{
		"IPv4 flows": func() packet {
			return packet{from: v4(), to: v4(), protocol: tcp, sport: uint16(rnd.IntN(65536)), dport: 8080}
		},
		"a client's ports in a row": func() packet {
			return packet{from: "10.0.0.1", to: "10.0.0.2", protocol: tcp, sport: uint16(32768 + rnd.IntN(28000)), dport: 8080}
		},
		"IPv6 flows": func() packet {
			return packet{from: v6(), to: v6(), protocol: udp, sport: uint16(rnd.IntN(65536)), dport: 53}
		},
		"hosts": func() packet { return packet{from: v4(), to: v4(), protocol: icmp} },
	} {
		for _, share := range []float64{.1, .25, .5, .9} {
			const n = 4000
			got := 0
			f := netem.Filter{Share: share}
			for range n {
				p := flow()
				back := p
				back.from, back.to, back.sport, back.dport = p.to, p.from, p.dport, p.sport
				there := meant(t, f, true, p.bytes())
				if there != meant(t, f, false, back.bytes()) {
					t.Fatalf("%s: %+v is meant one way only", name, p)
				}
				if there {
					got++
				}
			}
			if is := float64(got) / n; is < share-.04 || is > share+.04 { // 5 σ
				t.Errorf("%s: got a share of %.3f, want %.2f", name, is, share)
			}
		}
	}
}

// Many peers are one program, and too many are refused.
func TestManyPeers(t *testing.T) {
	var peers []netip.Prefix
	for i := range 300 {
		peers = append(peers, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32))
	}
	f := netem.Filter{Peers: peers}
	if !meant(t, f, true, packet{from: "10.0.0.1", to: "10.1.1.43", protocol: tcp}.bytes()) {
		t.Error("the last of 300 peers is not meant")
	}
	for range 6 {
		f.Peers = append(f.Peers, f.Peers...)
	}
	if _, err := program(f, true); err == nil {
		t.Errorf("%d peers were taken", len(f.Peers))
	}
}

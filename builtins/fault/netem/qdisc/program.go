package qdisc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
)

// program makes a filter's classic BPF program: it returns 0 for packets that
// are not meant, else all ones. out says which way the packets go. What is no
// IP packet is never meant, and neither is neighbour discovery: it is to IPv6
// what ARP is to IPv4.
func program(f netem.Filter, out bool) ([]bpf.Instruction, error) { return compile(f, out, network) }

// network is where a program finds the IP header, whatever comes before it:
// SKF_NET_OFF in linux/filter.h.
const network = 0xfff00000

const mostInstructions = 4096

// An assembler is a program in the making, whose jumps are named. Only
// unconditional jumps are: these alone reach far enough.
type assembler struct {
	code   []bpf.Instruction
	jumps  map[int]string
	labels map[string]int
	ip     uint32 // where the IP header begins
}

func compile(f netem.Filter, out bool, ip uint32) ([]bpf.Instruction, error) {
	a := &assembler{jumps: map[int]string{}, labels: map[string]int{}, ip: ip}
	a.byteAt(0)
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	a.to(bpf.JumpEqual, 4, "v4")
	a.to(bpf.JumpEqual, 6, "v6")
	a.jump("no")
	a.family(f, out, v4)
	a.family(f, out, v6)
	a.label("share")
	if p := f.Partial(); p > 0 {
		a.share(p)
	}
	a.label("yes")
	a.add(bpf.RetConstant{Val: math.MaxUint32})
	a.label("no")
	a.add(bpf.RetConstant{Val: 0})
	if len(a.code) > mostInstructions {
		return nil, fmt.Errorf("peers: got %d, which are more than the kernel's filters hold: name networks instead", len(f.Peers))
	}
	for at, label := range a.jumps {
		a.code[at] = bpf.Jump{Skip: uint32(a.labels[label] - at - 1)}
	}
	return a.code, nil
}

// A family is what differs between IPv4 and IPv6.
type family struct {
	name                    string
	source, target, size    uint32 // where the addresses are
	protocol                uint32
	icmp                    uint32
	is                      func(netip.Addr) bool
	fragmented, fragmentEnd uint16 // masks of a field at 6: a fragment at all; one without ports
}

var (
	v4 = family{name: "v4", source: 12, target: 16, size: 4, protocol: 9, icmp: unix.IPPROTO_ICMP, is: netip.Addr.Is4, fragmented: 0x3fff, fragmentEnd: 0x1fff}
	v6 = family{name: "v6", source: 8, target: 24, size: 16, protocol: 6, icmp: unix.IPPROTO_ICMPV6, is: netip.Addr.Is6}
)

func (a *assembler) family(f netem.Filter, out bool, fam family) {
	a.label(fam.name)
	if fam.icmp == unix.IPPROTO_ICMPV6 {
		a.discovery(fam)
	}
	a.protocols(f, fam)
	peer, port, peerPort := fam.source, uint32(2), uint32(0)
	if out {
		peer, port, peerPort = fam.target, 0, 2
	}
	if len(f.Peers) > 0 {
		a.peers(f.Peers, peer, fam)
		a.label(fam.name + " peer")
	}
	for _, p := range []struct {
		at    uint32
		value uint16
	}{{port, f.Port}, {peerPort, f.PeerPort}} {
		if p.value == 0 {
			continue
		}
		if fam.fragmentEnd != 0 { // what is not a datagram's first fragment has none
			a.add(bpf.LoadAbsolute{Off: a.ip + 6, Size: 2})
			a.unless(bpf.JumpBitsNotSet, uint32(fam.fragmentEnd), "no")
		}
		a.port(fam, p.at)
		a.unless(bpf.JumpEqual, uint32(p.value), "no")
	}
	if f.Partial() > 0 {
		a.hash(fam)
	}
	a.jump("share")
}

// discovery leaves neighbour discovery out: solicitations, advertisements and
// redirects.
func (a *assembler) discovery(fam family) {
	a.byteAt(fam.protocol)
	a.add(bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 4})
	a.byteAt(40)
	a.add(bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 133, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 137, SkipTrue: 1})
	a.jump("no")
}

func (a *assembler) protocols(f netem.Filter, fam family) {
	var meant []uint32
	switch {
	case f.Protocol == "tcp":
		meant = []uint32{unix.IPPROTO_TCP}
	case f.Protocol == "udp":
		meant = []uint32{unix.IPPROTO_UDP}
	case f.Protocol == "icmp":
		meant = []uint32{fam.icmp}
	case f.Port != 0 || f.PeerPort != 0:
		meant = []uint32{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP}
	default:
		return
	}
	a.byteAt(fam.protocol)
	for _, p := range meant {
		a.to(bpf.JumpEqual, p, fam.name+" protocol")
	}
	a.jump("no")
	a.label(fam.name + " protocol")
}

func (a *assembler) peers(peers []netip.Prefix, at uint32, fam family) {
	for i, p := range peers {
		addr, bits := p.Addr(), p.Bits()
		if addr.Is4In6() && bits >= 96 {
			addr, bits = addr.Unmap(), bits-96
		}
		if !fam.is(addr) {
			continue
		}
		next := fmt.Sprintf("%s peer %d", fam.name, i)
		raw := netip.PrefixFrom(addr, bits).Masked().Addr().AsSlice()
		for o := 0; o < len(raw) && bits > 8*o; o += 4 {
			a.add(bpf.LoadAbsolute{Off: a.ip + at + uint32(o), Size: 4})
			if left := bits - 8*o; left < 32 {
				a.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - left)})
			}
			a.unless(bpf.JumpEqual, binary.BigEndian.Uint32(raw[o:]), next)
		}
		a.jump(fam.name + " peer")
		a.label(next)
	}
	a.jump("no")
}

// port loads a port, 0 the source's.
func (a *assembler) port(fam family, at uint32) {
	if fam.size == 16 {
		a.add(bpf.LoadAbsolute{Off: a.ip + 40 + at, Size: 2})
		return
	}
	a.add(bpf.LoadMemShift{Off: a.ip}, bpf.LoadIndirect{Off: a.ip + at, Size: 2})
}

// The odd numbers that a flow's parts are multiplied with, to mix their bits.
const mixA, mixB, mixC, mixD = 0x9e3779b1, 0x85ebca6b, 0xc2b2ae35, 0x2c1b3c6d

// hash leaves in scratch 0 a number that is the same for all packets of a flow,
// in both directions: nothing in it tells source from target. Fragments have no
// ports, so that all datagrams between two hosts that are fragmented are one flow.
func (a *assembler) hash(fam family) {
	xor := func() { a.add(bpf.ALUOpX{Op: bpf.ALUOpXor}) }
	mul := func(n uint32) { a.add(bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: n}) }
	store := func(n int) { a.add(bpf.StoreScratch{Src: bpf.RegA, N: n}) }
	a.add(bpf.LoadConstant{Dst: bpf.RegA})
	for o := uint32(0); o < 2*fam.size; o += 4 {
		a.add(bpf.TAX{}, bpf.LoadAbsolute{Off: a.ip + fam.source + o, Size: 4})
		xor()
	}
	mul(mixA)
	store(0)
	mixed := fam.name + " mixed"
	a.byteAt(fam.protocol)
	a.to(bpf.JumpEqual, unix.IPPROTO_TCP, fam.name+" ports")
	a.to(bpf.JumpEqual, unix.IPPROTO_UDP, fam.name+" ports")
	a.to(bpf.JumpEqual, unix.IPPROTO_SCTP, fam.name+" ports")
	a.jump(mixed)
	a.label(fam.name + " ports")
	if fam.fragmented != 0 {
		a.add(bpf.LoadAbsolute{Off: a.ip + 6, Size: 2})
		a.unless(bpf.JumpBitsNotSet, uint32(fam.fragmented), mixed)
	}
	a.port(fam, 0)
	store(1)
	a.port(fam, 2)
	store(2)
	a.add(bpf.LoadScratch{Dst: bpf.RegX, N: 1})
	xor()
	mul(mixB)
	a.add(bpf.LoadScratch{Dst: bpf.RegX, N: 0}, bpf.ALUOpX{Op: bpf.ALUOpAdd})
	store(0)
	a.add(bpf.LoadScratch{Dst: bpf.RegA, N: 2}, bpf.LoadScratch{Dst: bpf.RegX, N: 1}, bpf.ALUOpX{Op: bpf.ALUOpAdd})
	mul(mixC)
	a.add(bpf.LoadScratch{Dst: bpf.RegX, N: 0}, bpf.ALUOpX{Op: bpf.ALUOpAdd})
	store(0)
	a.label(mixed)
}

// share lets a share of the hashes through.
func (a *assembler) share(part float64) {
	for _, shift := range []uint32{15, 13} {
		a.add(bpf.LoadScratch{Dst: bpf.RegA, N: 0}, bpf.TAX{}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: shift},
			bpf.ALUOpX{Op: bpf.ALUOpXor}, bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: mixD}, bpf.StoreScratch{Src: bpf.RegA, N: 0})
	}
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 8})
	a.unless(bpf.JumpLessThan, uint32(math.Ceil(part*(1<<24))), "no")
}

func (a *assembler) add(code ...bpf.Instruction) { a.code = append(a.code, code...) }

func (a *assembler) byteAt(at uint32) { a.add(bpf.LoadAbsolute{Off: a.ip + at, Size: 1}) }

func (a *assembler) label(name string) { a.labels[name] = len(a.code) }

func (a *assembler) jump(label string) {
	a.jumps[len(a.code)] = label
	a.add(bpf.Jump{})
}

// to jumps to a label if the test on A holds.
func (a *assembler) to(test bpf.JumpTest, val uint32, label string) {
	a.add(bpf.JumpIf{Cond: test, Val: val, SkipFalse: 1})
	a.jump(label)
}

// unless jumps to a label if it does not.
func (a *assembler) unless(test bpf.JumpTest, val uint32, label string) {
	a.add(bpf.JumpIf{Cond: test, Val: val, SkipTrue: 1})
	a.jump(label)
}

// raw is a program as the kernel takes it.
func raw(code []bpf.Instruction) ([]byte, error) {
	assembled, err := bpf.Assemble(code)
	if err != nil {
		return nil, errors.Join(errors.New("filter"), err)
	}
	var all []byte
	for _, i := range assembled {
		all = binary.NativeEndian.AppendUint16(all, i.Op)
		all = append(all, i.Jt, i.Jf)
		all = binary.NativeEndian.AppendUint32(all, i.K)
	}
	return all, nil
}

package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
)

// A Rule says what happens to packets that a filter means. Its share of flows
// is not looked at: who takes the packets does that.
type Rule struct {
	Filter  netem.Filter
	Out, In Action
}

// An Action is what happens to packets of one direction.
type Action struct {
	queue  uint16
	bypass bool
	drop   bool
}

// ToQueue hands packets to an NFQUEUE; while nobody listens there, they pass.
func ToQueue(number uint16) Action { return Action{queue: number, bypass: true} }

// Drop drops packets as a network does: the sender is told nothing.
func Drop() Action { return Action{drop: true} }

// A rule that drops in the output hook makes send() fail with EPERM. A queue
// without listener and without bypass drops, and send() is content.
const nowhere = 65533

// direction is a hook, and where its packets carry what filters look at.
type direction struct {
	name           string
	covers         func(string) bool
	hook           *nftables.ChainHook
	link           expr.MetaKey // the type of the interface
	peer4, peer6   uint32       // offsets of the peer's address
	port, peerPort uint32       // offsets of the target's port and the peer's
	act            func(Rule) Action
	hasLocalSender bool
}

var directions = []direction{
	{
		name: "out", covers: func(d string) bool { return d == netem.Out || d == netem.Both || d == "" },
		hook: nftables.ChainHookOutput, link: expr.MetaKeyOIFTYPE,
		peer4: 16, peer6: 24, port: 0, peerPort: 2, act: func(r Rule) Action { return r.Out }, hasLocalSender: true,
	},
	{
		name: "in", covers: func(d string) bool { return d == netem.In || d == netem.Both },
		hook: nftables.ChainHookPrerouting, link: expr.MetaKeyIIFTYPE,
		peer4: 12, peer6: 8, port: 2, peerPort: 0, act: func(r Rule) Action { return r.In },
	},
}

// expressions are the chain's rules: what is never touched, then one rule for
// each peer and protocol.
func (d direction) expressions(rules []Rule, passedThis uint32, kind queueKind) [][]expr.Any {
	var body [][]expr.Any
	for _, r := range rules {
		if !d.covers(r.Filter.Direction) {
			continue
		}
		for _, peer := range d.peers(r.Filter.Peers) {
			for _, proto := range protocols(r.Filter) {
				exprs := append(append([]expr.Any{}, peer...), proto...)
				exprs = append(exprs, port(d.port, r.Filter.Port)...)
				exprs = append(exprs, port(d.peerPort, r.Filter.PeerPort)...)
				exprs = append(exprs, &expr.Counter{})
				body = append(body, append(exprs, d.statement(d.act(r), kind)))
			}
		}
	}
	if body == nil {
		return nil
	}
	return append(d.untouched(passedThis), body...)
}

// untouched: loopback, neighbour discovery (as ARP, which has no such hook),
// and what has passed already.
func (d direction) untouched(passedThis uint32) [][]expr.Any {
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	rules := [][]expr.Any{
		{
			&expr.Meta{Key: d.link, Register: 1},
			&expr.Cmp{Register: 1, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK)}, accept,
		},
		{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
			&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{133}}, // router solicitation
			&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{137}}, // redirect
			accept,
		},
	}
	if !d.hasLocalSender {
		return rules
	}
	return append(rules, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: 1},
		&expr.Byteorder{Op: expr.ByteorderHton, SourceRegister: 1, DestRegister: 1, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: binary.BigEndian.AppendUint32(nil, passedThis)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: binary.BigEndian.AppendUint32(nil, last)},
		accept,
	})
}

func (d direction) statement(a Action, kind queueKind) expr.Any {
	switch {
	case !a.drop:
		return kind.statement(a.queue, a.bypass)
	case d.hasLocalSender:
		return kind.statement(nowhere, false)
	}
	return &expr.Verdict{Kind: expr.VerdictDrop}
}

// peers is one match for each peer; without any, one that all packets meet.
func (d direction) peers(peers []netip.Prefix) [][]expr.Any {
	if len(peers) == 0 {
		return [][]expr.Any{nil}
	}
	var all [][]expr.Any
	for _, p := range peers {
		addr, bits := p.Addr(), p.Bits()
		if addr.Is4In6() && bits >= 96 {
			addr, bits = addr.Unmap(), bits-96
		}
		family, offset := byte(unix.NFPROTO_IPV4), d.peer4
		if addr.Is6() {
			family, offset = unix.NFPROTO_IPV6, d.peer6
		}
		size := uint32(addr.BitLen() / 8)
		mask := make([]byte, size)
		for i := range bits {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		all = append(all, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{family}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
			&expr.Cmp{Register: 1, Data: netip.PrefixFrom(addr, bits).Masked().Addr().AsSlice()},
		})
	}
	return all
}

// protocols is one match for each transport protocol that is meant.
func protocols(f netem.Filter) [][]expr.Any {
	of := func(family, number byte) (m []expr.Any) {
		if family != 0 {
			m = append(m, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{family}})
		}
		return append(m, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{number}})
	}
	switch {
	case f.Protocol == "tcp":
		return [][]expr.Any{of(0, unix.IPPROTO_TCP)}
	case f.Protocol == "udp":
		return [][]expr.Any{of(0, unix.IPPROTO_UDP)}
	case f.Protocol == "icmp":
		return [][]expr.Any{of(unix.NFPROTO_IPV4, unix.IPPROTO_ICMP), of(unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6)}
	case f.Port != 0 || f.PeerPort != 0:
		return [][]expr.Any{of(0, unix.IPPROTO_TCP), of(0, unix.IPPROTO_UDP), of(0, unix.IPPROTO_SCTP)}
	}
	return [][]expr.Any{nil}
}

func port(offset uint32, number uint16) []expr.Any {
	if number == 0 {
		return nil
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Register: 1, Data: binary.BigEndian.AppendUint16(nil, number)},
	}
}

// Package probe times the round trip of packets that a filter means, from
// inside a network namespace, without a word to any program:
//
//	target's namespace ── ICMP echo, or a TCP ACK of no connection ──▶ a peer
//	                   ◀── echo reply, or the RST of the peer's kernel ──
//
// It is how a network fault is seen to act, and to be gone.
package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
)

// patience is how long an answer may take on a network that nothing ails.
const patience = 300 * time.Millisecond

// A Probe sends packets to one peer.
type Probe struct {
	peer  netip.Addr
	fd    int
	tcp   bool
	local uint16 // port; 0: a new one for each packet
	port  uint16 // of the peer
	self  netip.Addr
	next  uint16
}

// ErrNone says that no peer of the filter answers, or that no packet of ours
// can be what the filter means.
var ErrNone = errors.New("nothing that the filter means can be probed")

// Find makes a probe to the first peer that answers, and says how long that
// took. Close it.
func Find(ns int, f netem.Filter) (p *Probe, before time.Duration, err error) {
	if f.Protocol == "udp" { // a datagram to a service would be a word to a program
		return nil, 0, fmt.Errorf("%w: a datagram would be read by a program", ErrNone)
	}
	var candidates []netip.Addr
	err = netns.Inside(ns, func() (err error) {
		candidates, err = peers(f)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	const most = 4
	for _, peer := range candidates[:min(len(candidates), most)] {
		p, err := To(ns, f, peer)
		if err != nil {
			continue // there is no route, or no such family
		}
		if took, ok := p.Best(3, patience); ok {
			return p, took, nil
		}
		p.Close()
	}
	return nil, 0, fmt.Errorf("%w: no peer of it answers", ErrNone)
}

// To makes a probe to a peer, answering or not.
func To(ns int, f netem.Filter, peer netip.Addr) (*Probe, error) {
	p := &Probe{peer: peer, fd: -1, port: f.PeerPort, local: f.Port, next: uint16(time.Now().UnixNano())}
	// Every flow of its own has its own ports: a share of flows is met by some.
	p.tcp = f.Protocol == "tcp" || f.Port != 0 || f.PeerPort != 0 || f.Partial() > 0 && f.Protocol == ""
	if p.port == 0 {
		p.port = 9 // discard: hardly anybody listens, and who does hears nothing
	}
	if err := netns.Inside(ns, p.open); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Peer is where the packets go.
func (p *Probe) Peer() netip.Addr { return p.peer }

// Close lets the socket go.
func (p *Probe) Close() {
	if p.fd >= 0 {
		_ = unix.Close(p.fd) // nothing is left to be written
		p.fd = -1
	}
}

func (p *Probe) open() error {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if p.peer.Is6() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	if p.tcp {
		protocol = unix.IPPROTO_TCP
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	p.fd = fd
	if p.tcp && p.peer.Is6() {
		const checksumAt = 16
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, checksumAt); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	if err := unix.Connect(fd, address(p.peer)); err != nil {
		return fmt.Errorf("probe %v: %w", p.peer, err)
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	switch a := self.(type) {
	case *unix.SockaddrInet4:
		p.self = netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		p.self = netip.AddrFrom16(a.Addr)
	}
	if p.self == p.peer || p.self.IsLoopback() {
		return fmt.Errorf("probe %v: it is the target itself", p.peer)
	}
	return nil
}

func address(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

// Best is the shortest of at most n round trips; not ok if none was answered.
func (p *Probe) Best(n int, timeout time.Duration) (best time.Duration, ok bool) {
	for range n {
		took, answered := p.Round(timeout)
		if answered && (!ok || took < best) {
			best, ok = took, true
		}
	}
	return best, ok
}

// Round sends one packet and waits for its answer.
func (p *Probe) Round(timeout time.Duration) (took time.Duration, ok bool) {
	p.next++
	packet, answers := p.echo()
	if p.tcp {
		packet, answers = p.ack()
	}
	began := time.Now()
	if _, err := unix.Write(p.fd, packet); err != nil {
		return 0, false
	}
	buf := make([]byte, 2048)
	for {
		left := timeout - time.Since(began)
		if left <= 0 {
			return 0, false
		}
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, false
		}
		n, _, err := unix.Recvfrom(p.fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, false // an ICMP error: the peer is not reached
		}
		if answers(p.payload(buf[:n])) {
			return time.Since(began), true
		}
	}
}

// payload skips the IP header, which raw sockets of IPv4 give too.
func (p *Probe) payload(b []byte) []byte {
	if p.peer.Is6() || len(b) < 20 {
		return b
	}
	return b[min(len(b), int(b[0]&15)*4):]
}

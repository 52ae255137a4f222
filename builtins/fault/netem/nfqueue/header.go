package nfqueue

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// header is what of a packet's headers matters here.
type header struct {
	v6       bool
	from, to []byte // addresses
	protocol byte
	size     int    // of the IP header; where the transport's begins
	ports    []byte // both, if there are any: of the transports that have them, in no fragment
}

// parseHeader reads the headers of an IP packet; false if it is none.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < 20 {
		return h, false
	}
	fragment := false
	switch b[0] >> 4 {
	case 4:
		h.size = int(b[0]&15) * 4
		if h.size < 20 || h.size > len(b) {
			return h, false
		}
		h.from, h.to, h.protocol = b[12:16], b[16:20], b[9]
		fragment = binary.BigEndian.Uint16(b[6:])&0x3fff != 0
	case 6:
		if len(b) < 40 {
			return h, false
		}
		h.v6, h.from, h.to, h.protocol = true, b[8:24], b[24:40], b[6]
		h.size, h.protocol, fragment = skipExtensions(b, h.protocol)
	default:
		return h, false
	}
	switch h.protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP:
		if !fragment && len(b) >= h.size+4 {
			h.ports = b[h.size : h.size+4]
		}
	}
	return h, true
}

// skipExtensions goes on to the transport's header of an IPv6 packet.
func skipExtensions(b []byte, next byte) (at int, protocol byte, fragment bool) {
	at = 40
	for len(b) >= at+8 {
		switch next {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			next, at = b[at], at+8+int(b[at+1])*8
		case unix.IPPROTO_FRAGMENT:
			next, at, fragment = b[at], at+8, true
		default:
			return at, next, fragment
		}
	}
	return min(at, len(b)), next, fragment
}

// flow is a number in 0..1 that all packets of one connection share, in both
// directions: FNV-1a over its ends, the smaller one first.
func (h header) flow() float64 {
	from, to := h.from, h.to
	portFrom, portTo := []byte(nil), []byte(nil)
	if h.ports != nil {
		portFrom, portTo = h.ports[:2], h.ports[2:]
	}
	if c := bytes.Compare(from, to); c > 0 || c == 0 && bytes.Compare(portFrom, portTo) > 0 {
		from, to, portFrom, portTo = to, from, portTo, portFrom
	}
	sum := uint64(14695981039346656037)
	for _, part := range [][]byte{from, portFrom, to, portTo, {h.protocol}} {
		for _, b := range part {
			sum = (sum ^ uint64(b)) * 1099511628211
		}
	}
	sum ^= sum >> 33 // FNV's upper bits change little with the last bytes
	sum *= 0xff51afd7ed558ccd
	sum ^= sum >> 33
	return float64(sum>>11) / (1 << 53)
}

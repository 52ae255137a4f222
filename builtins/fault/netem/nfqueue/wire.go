package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Messages of the kernel's nfnetlink_queue (linux/netfilter/nfnetlink_queue.h).
// Their headers have the host's byte order, their numbers the network's.
const (
	msgPacket  = unix.NFNL_SUBSYS_QUEUE << 8
	msgVerdict = unix.NFNL_SUBSYS_QUEUE<<8 | 1
	msgConfig  = unix.NFNL_SUBSYS_QUEUE<<8 | 2
	msgBatch   = unix.NFNL_SUBSYS_QUEUE<<8 | 3

	attrPacket  = 1
	attrVerdict = 2
	attrMark    = 3
	attrInDev   = 5
	attrOutDev  = 6
	attrPayload = 10
	attrLength  = 13 // of a packet that was copied in part

	cfgCommand = 1
	cfgParams  = 2
	cfgMaxLen  = 3
	cfgMask    = 4
	cfgFlags   = 5

	commandBind = 1
	copyPacket  = 2
	flagGSO     = 4

	drop   = 0
	accept = 1

	request = 1 // sequence number of what we want an answer to
)

const (
	netlinkHeader  = 16
	genericHeader  = 4
	attributeAlign = 4
)

var native = binary.NativeEndian

// A packet is what the kernel says of one. Its payload lies in the buffer
// that it was read into.
type packet struct {
	id      uint32
	mark    uint32
	in, out uint32 // interfaces
	length  int    // of the whole packet
	payload []byte // as much as was asked for, from the IP header on
}

var errShort = errors.New("message is cut off")

// messages calls for each message in a datagram.
func messages(b []byte, each func(kind uint16, body []byte) error) error {
	for len(b) > 0 {
		if len(b) < netlinkHeader {
			return errShort
		}
		n := int(native.Uint32(b))
		if n < netlinkHeader || n > len(b) {
			return errShort
		}
		if err := each(native.Uint16(b[4:]), b[netlinkHeader:n]); err != nil {
			return err
		}
		b = b[min(align(n), len(b)):]
	}
	return nil
}

// parsePacket reads the body of a msgPacket.
func parsePacket(b []byte) (p packet, err error) {
	if len(b) < genericHeader {
		return p, errShort
	}
	b = b[genericHeader:]
	known := false
	for len(b) >= 4 {
		n, kind := int(native.Uint16(b)), native.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)
		if n < 4 || n > len(b) {
			return p, errShort
		}
		value := b[4:n]
		number := uint32(0)
		if len(value) >= 4 {
			number = binary.BigEndian.Uint32(value)
		}
		switch kind {
		case attrPacket:
			p.id, known = number, len(value) >= 4
		case attrMark:
			p.mark = number
		case attrInDev:
			p.in = number
		case attrOutDev:
			p.out = number
		case attrLength:
			p.length = int(min(number, math.MaxInt32))
		case attrPayload:
			p.payload = value
		}
		b = b[min(align(n), len(b)):]
	}
	if !known {
		return p, fmt.Errorf("packet without number")
	}
	p.length = max(p.length, len(p.payload))
	return p, nil
}

// parseError reads the body of an NLMSG_ERROR: to which message it is the
// answer, and what that was; nil is an acknowledgement.
func parseError(b []byte) (sequence uint32, answer, err error) {
	if len(b) < 4+netlinkHeader {
		return 0, nil, errShort
	}
	if code := int32(native.Uint32(b)); code != 0 {
		answer = unix.Errno(-code)
	}
	return native.Uint32(b[4+8:]), answer, nil
}

func align(n int) int { return (n + attributeAlign - 1) &^ (attributeAlign - 1) }

// appendMessage begins a message about a queue; finish sets its length.
func appendMessage(b []byte, kind uint16, flags uint16, queue uint16) (out []byte, finish func([]byte)) {
	start := len(b)
	b = native.AppendUint32(b, 0)
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	if kind == msgConfig {
		b = native.AppendUint32(b, request)
	} else {
		b = native.AppendUint32(b, 0)
	}
	b = append(b, 0, 0, 0, 0) // port
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(queue>>8), byte(queue))
	return b, func(b []byte) { native.PutUint32(b[start:], uint32(len(b)-start)) }
}

func appendAttribute(b []byte, kind uint16, value ...byte) []byte {
	b = native.AppendUint16(b, uint16(4+len(value)))
	b = native.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%attributeAlign != 0 {
		b = append(b, 0)
	}
	return b
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// appendVerdict says what becomes of a packet: of that one, or as kind msgBatch
// of all up to it. A payload replaces the packet's.
func appendVerdict(b []byte, kind, queue uint16, verdict, id uint32, payload []byte) []byte {
	b, finish := appendMessage(b, kind, 0, queue)
	b = native.AppendUint16(b, 12)
	b = native.AppendUint16(b, attrVerdict)
	b = binary.BigEndian.AppendUint32(b, verdict)
	b = binary.BigEndian.AppendUint32(b, id)
	if payload != nil {
		b = appendAttribute(b, attrPayload, payload...)
	}
	finish(b)
	return b
}

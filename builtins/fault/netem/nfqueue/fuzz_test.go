package nfqueue

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// message is one of the kernel's, for seeds.
func message(payload []byte) []byte {
	b, finish := appendMessage(nil, msgPacket, 0, 7)
	b = appendAttribute(b, attrPacket, 0, 0, 0, 9, 8, 0, 3)
	b = appendAttribute(b, attrMark, 0, 0, 0, 1)
	b = appendAttribute(b, attrOutDev, 0, 0, 0, 2)
	b = appendAttribute(b, attrLength, 0, 0, 1, 0)
	b = appendAttribute(b, attrPayload, payload...)
	finish(b)
	return b
}

var (
	ip4 = append([]byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, 0, 1, 0, 2, 0, 8, 0, 0)
	ip6 = append(append([]byte{0x60, 0, 0, 0, 0, 8, unix.IPPROTO_UDP, 64}, make([]byte, 32)...), 0, 1, 0, 2, 0, 8, 0, 0)
)

func TestParse(t *testing.T) {
	var got packet
	err := messages(message(ip4), func(kind uint16, body []byte) (err error) {
		if kind != msgPacket {
			t.Errorf("got kind %#x", kind)
		}
		got, err = parsePacket(body)
		return err
	})
	if err != nil || got.id != 9 || got.mark != 1 || got.out != 2 || got.in != 0 || got.length != 256 || !bytes.Equal(got.payload, ip4) {
		t.Errorf("got %+v (%v)", got, err)
	}
	for n := range message(ip4) { // cut off at every byte
		_ = messages(message(ip4)[:n], func(_ uint16, body []byte) error {
			t.Errorf("%d bytes of a message are taken for one", n)
			return nil
		})
	}
}

// Both directions of a connection have one flow number, and connections have
// different ones; fragments of one packet have one too.
func TestFlow(t *testing.T) {
	flow := func(b []byte) float64 {
		h, ok := parseHeader(b)
		if !ok {
			t.Fatalf("%x is no packet", b)
		}
		return h.flow()
	}
	turn := func(b []byte, at, size, ports int) []byte {
		r := bytes.Clone(b)
		copy(r[at:], b[at+size:at+2*size])
		copy(r[at+size:], b[at:at+size])
		copy(r[ports:], b[ports+2:ports+4])
		copy(r[ports+2:], b[ports:ports+2])
		return r
	}
	if flow(ip4) != flow(turn(ip4, 12, 4, 20)) || flow(ip6) != flow(turn(ip6, 8, 16, 40)) {
		t.Error("the two directions of a flow are two flows")
	}
	seen, low := map[float64]bool{}, 0
	for port := range uint16(10_000) {
		b := bytes.Clone(ip4)
		binary.BigEndian.PutUint16(b[20:], port)
		f := flow(b)
		if f < 0 || f >= 1 {
			t.Fatalf("got %v, want 0..1", f)
		}
		if f < 0.25 {
			low++
		}
		seen[f] = true
	}
	if len(seen) != 10_000 || low < 2300 || low > 2700 {
		t.Errorf("10,000 flows have %d numbers, %d of them in the first quarter", len(seen), low)
	}
	first, second := bytes.Clone(ip4), bytes.Clone(ip4)
	first[6], second[7] = 0x20, 1 // more fragments; an offset
	copy(second[20:], "data")
	if flow(first) != flow(second) {
		t.Error("two fragments of a packet are in two flows")
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(message(ip4))
	f.Add(append(message(ip6), message(nil)...))
	f.Add(appendVerdict(nil, msgVerdict, 1, accept, 2, ip4))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = messages(b, func(kind uint16, body []byte) error {
			_, _, _ = parseError(body)
			p, err := parsePacket(body)
			if err == nil && p.length < len(p.payload) {
				t.Errorf("a packet of %d bytes has %d", p.length, len(p.payload))
			}
			return err
		})
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(ip4)
	f.Add(ip6)
	f.Add(append(append([]byte{0x60, 0, 0, 0, 0, 8, unix.IPPROTO_FRAGMENT, 64}, make([]byte, 32)...), unix.IPPROTO_TCP, 0, 0, 1, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := parseHeader(b)
		if !ok {
			return
		}
		if h.size > len(b) || len(h.from) != len(h.to) || h.ports != nil && len(h.ports) != 4 {
			t.Errorf("got %+v of %d bytes", h, len(b))
		}
		_ = h.flow()
		old := bytes.Clone(b)
		corrupt(b, func(n int) (int, byte) { return n - 1, 1 })
		if bytes.Equal(old, b) && h.size < len(b) && len(b) > 40 {
			t.Error("nothing is corrupted")
		}
		if !bytes.Equal(old[:20], b[:20]) && b[0]>>4 == 4 {
			t.Error("an IP header is corrupted")
		}
	})
}

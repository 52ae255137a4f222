package probe

import "encoding/binary"

// echo is an ICMP echo request, and says what answers it.
func (p *Probe) echo() (packet []byte, answers func([]byte) bool) {
	request, reply := byte(8), byte(0)
	if p.peer.Is6() {
		request, reply = 128, 129
	}
	id := uint16(p.fd) ^ 0xc4a0
	packet = make([]byte, 16)
	packet[0] = request
	binary.BigEndian.PutUint16(packet[4:], id)
	binary.BigEndian.PutUint16(packet[6:], p.next)
	if p.peer.Is4() { // of ICMPv6 the kernel fills it in
		binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	}
	seq := p.next
	return packet, func(b []byte) bool {
		return len(b) >= 8 && b[0] == reply && binary.BigEndian.Uint16(b[4:]) == id && binary.BigEndian.Uint16(b[6:]) == seq
	}
}

// ack is a TCP segment that belongs to no connection: whether somebody listens
// there or not, the peer's kernel answers it with a RST.
func (p *Probe) ack() (packet []byte, answers func([]byte) bool) {
	const headerLen, flagACK, flagRST = 20, 1 << 4, 1 << 2
	local := p.local
	if local == 0 {
		local = 20000 + p.next%10000 // below the ephemeral ports
	}
	number := 0x51000000 | uint32(p.next)
	packet = make([]byte, headerLen)
	binary.BigEndian.PutUint16(packet[0:], local)
	binary.BigEndian.PutUint16(packet[2:], p.port)
	binary.BigEndian.PutUint32(packet[4:], number)
	binary.BigEndian.PutUint32(packet[8:], number) // the RST's sequence number will be this
	packet[12], packet[13] = headerLen/4<<4, flagACK
	if p.peer.Is4() {
		from, to := p.self.As4(), p.peer.As4()
		pseudo := append(append(append([]byte{}, from[:]...), to[:]...), 0, 6, 0, headerLen)
		binary.BigEndian.PutUint16(packet[16:], checksum(append(pseudo, packet...)))
	}
	port := p.port
	return packet, func(b []byte) bool {
		return len(b) >= headerLen && b[13]&flagRST != 0 && binary.BigEndian.Uint16(b) == port &&
			binary.BigEndian.Uint16(b[2:]) == local && binary.BigEndian.Uint32(b[4:]) == number
	}
}

// checksum is the internet's, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

package nfqueue

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A parcel is a copy of a packet to be sent.
type parcel struct {
	body     []byte // from the IP header on
	mark     uint32 // it had this firewall mark
	out      uint32 // it was to leave by this interface; 0: it goes to ourselves
	fromPool bool
}

// An injector sends IP packets as they are, many in one call. They carry the
// mark that they had, and a socket priority by which our own rule lets them
// through.
type injector struct {
	fds     [2]int // IPv4, IPv6
	mtu     mtu    // of the interface that was asked about last
	n       int    // parcels on their way
	v6      bool   // these are
	slots   [letters]slot
	headers [letters]mmsghdr
	lost    uint64 // for want of room
}

type mtu struct {
	link  uint32
	bytes int
	asked time.Duration
}

// slot has all that a message to the kernel points to.
type slot struct {
	to      unix.RawSockaddrInet6 // or RawSockaddrInet4, which is smaller
	vector  unix.Iovec
	control [12]uint64 // control messages are aligned to it
}

// newInjector makes the sockets. The caller is in the namespace.
func newInjector(priority uint32) (*injector, error) {
	j := &injector{fds: [2]int{-1, -1}}
	for i, family := range []int{unix.AF_INET, unix.AF_INET6} {
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
		if err == unix.EAFNOSUPPORT && family == unix.AF_INET6 {
			break // no IPv6 here, so no such packets either
		}
		if err != nil {
			j.close()
			return nil, fmt.Errorf("raw socket: %w (CAP_NET_RAW is needed)", err)
		}
		j.fds[i] = fd
		for _, set := range []struct{ name, value int }{
			{unix.SO_PRIORITY, int(priority)}, {unix.SO_SNDBUFFORCE, backlog}, {unix.SO_RCVBUF, 0}, {unix.SO_BROADCAST, 1},
		} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, set.name, set.value); err != nil {
				j.close()
				return nil, fmt.Errorf("raw socket: %w (CAP_NET_ADMIN is needed)", err)
			}
		}
	}
	return j, nil
}

func (j *injector) close() {
	for _, fd := range j.fds {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing more was to be sent
		}
	}
}

// fits says that a packet can be sent as it is: the kernel cuts none into
// fragments for a raw socket.
func (j *injector) fits(p packet, now time.Duration) bool {
	const long = 10 * time.Second
	if j.mtu.link != p.out || now-j.mtu.asked > long || j.mtu.bytes == 0 {
		j.mtu = mtu{link: p.out, bytes: j.askMTU(int(p.out)), asked: now}
	}
	return p.length <= j.mtu.bytes
}

// askMTU is 0 where nothing is known, so that nothing fits.
func (j *injector) askMTU(link int) int {
	var request struct {
		name  [unix.IFNAMSIZ]byte
		value int32
		_     [20]byte
	}
	request.value = int32(link)
	for _, call := range []uintptr{unix.SIOCGIFNAME, unix.SIOCGIFMTU} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(j.fds[0]), call, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return 0
		}
	}
	return int(request.value)
}

// put puts a parcel on its way. Its body stays as it is until the next flush.
func (j *injector) put(p parcel) {
	h, ok := parseHeader(p.body)
	if !ok {
		return
	}
	if j.n == letters || j.n > 0 && j.v6 != h.v6 {
		j.flush()
	}
	j.v6 = h.v6
	s, m := &j.slots[j.n], &j.headers[j.n].header
	*m = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.to)), Iov: &s.vector, Control: (*byte)(unsafe.Pointer(&s.control))}
	s.vector.Base = &p.body[0]
	s.vector.SetLen(len(p.body))
	m.SetIovlen(1)
	room := (*[len(s.control) * 8]byte)(unsafe.Pointer(&s.control))[:0]
	if h.v6 {
		m.Namelen = unix.SizeofSockaddrInet6
		s.to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: [16]byte(h.to)}
		if h.to[0] == 0xff || h.to[0] == 0xfe && h.to[1]&0xc0 == 0x80 { // means nothing without an interface
			s.to.Scope_id = p.out
		}
	} else {
		m.Namelen = unix.SizeofSockaddrInet4
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&s.to)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(h.to)}
	}
	if p.out != 0 {
		room = appendRoute(room, h, p.out)
	}
	if p.mark != 0 {
		room = appendControl(room, unix.SOL_SOCKET, unix.SO_MARK, native.AppendUint32(nil, p.mark))
	}
	m.SetControllen(len(room))
	if len(room) == 0 {
		m.Control = nil
	}
	j.n++
}

// appendRoute asks for the interface and the source address with which the
// packet was routed before.
func appendRoute(room []byte, h header, out uint32) []byte {
	var info [20]byte
	if h.v6 { // struct in6_pktinfo
		copy(info[:], h.from)
		native.PutUint32(info[16:], out)
		return appendControl(room, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, info[:])
	}
	native.PutUint32(info[:], out) // struct in_pktinfo
	copy(info[4:], h.from)
	return appendControl(room, unix.IPPROTO_IP, unix.IP_PKTINFO, info[:12])
}

func appendControl(room []byte, level, kind int32, data []byte) []byte {
	var head [unix.SizeofCmsghdr]byte
	h := (*unix.Cmsghdr)(unsafe.Pointer(&head))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	end := len(room) + unix.CmsgSpace(len(data))
	room = append(append(room, head[:]...), data...)
	for len(room) < end {
		room = append(room, 0)
	}
	return room
}

// flush sends what is on its way. A packet that the kernel refuses, for a
// firewall or a route that has gone, would not have got further in its time.
func (j *injector) flush() {
	fd := j.fds[0]
	if j.v6 {
		fd = j.fds[1]
	}
	for sent, waited := 0, 0; sent < j.n; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&j.headers[sent])), uintptr(j.n-sent), unix.MSG_DONTWAIT, 0, 0)
		full := errno == unix.EAGAIN || errno == unix.ENOBUFS
		switch {
		case errno == 0:
			sent += int(n)
		case errno == unix.EINTR:
		case full && waited < 10:
			waited++
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 10) // the send says more
		default:
			if sent++; full {
				j.lost++
			}
		}
	}
	j.n = 0
}

// corrupt flips a bit behind the IP header. It is pick that chooses it among n
// bytes.
func corrupt(body []byte, pick func(n int) (int, byte)) {
	size := 0
	if len(body) > 0 && body[0]>>4 == 4 {
		size = int(body[0]&15) * 4
	} else if len(body) > 40 {
		size = 40
	}
	if size < len(body) {
		at, mask := pick(len(body) - size)
		body[size+at] ^= mask
	}
}

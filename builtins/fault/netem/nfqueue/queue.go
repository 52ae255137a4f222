package nfqueue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A queue is one NFQUEUE in a namespace, and its verdicts on their way. Packets
// are read and judged on one thread.
type queue struct {
	fd       int
	number   uint16
	verdicts []byte
	waiting  int          // packets that the kernel holds for a verdict of ours
	arrived  func(packet) // what is done with a packet
}

const (
	backlog = 16 << 20 // bytes of messages that wait to be read: some thousand packets
	tries   = 64
)

// openQueue binds a queue that nobody has. The caller is in the namespace.
func openQueue() (*queue, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	q := &queue{fd: fd}
	if err := q.bind(); err != nil {
		q.close()
		return nil, fmt.Errorf("queue: %w", err)
	}
	return q, nil
}

func (q *queue) bind() error {
	if err := unix.Bind(q.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	// A message that finds no room is a packet that is dropped, and counted by
	// the kernel; it must not look like an error of the socket.
	if err := unix.SetsockoptInt(q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, backlog); err != nil {
		return fmt.Errorf("%w (CAP_NET_ADMIN is needed)", err)
	}
	var err error
	for range tries { // a queue of another process answers EPERM, or EBUSY
		q.number = uint16(1024 + rand.IntN(60000))
		err = q.ask(cfgCommand, commandBind, 0, 0, unix.AF_UNSPEC)
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return err
}

// config is what the kernel does with packets before we see them.
type config struct {
	size  uint32 // bytes of each that are copied
	whole bool   // large ones come whole, not cut into those that the wire would see
	room  uint32 // packets that may wait
}

func (q *queue) configure(c config) error {
	if err := q.ask(cfgParams, append(be32(c.size), copyPacket)...); err != nil {
		return err
	}
	flags := uint32(0)
	if c.whole {
		flags = flagGSO
	}
	message, finish := appendMessage(nil, msgConfig, unix.NLM_F_ACK, q.number)
	message = appendAttribute(message, cfgFlags, be32(flags)...)
	message = appendAttribute(message, cfgMask, be32(flagGSO)...)
	message = appendAttribute(message, cfgMaxLen, be32(c.room)...)
	finish(message)
	return q.request(message)
}

func (q *queue) ask(attribute uint16, value ...byte) error {
	message, finish := appendMessage(nil, msgConfig, unix.NLM_F_ACK, q.number)
	message = appendAttribute(message, attribute, value...)
	finish(message)
	return q.request(message)
}

// request sends and waits for the answer, taking packets that come before it.
func (q *queue) request(message []byte) error {
	if err := unix.Send(q.fd, message, 0); err != nil {
		return err
	}
	buf := make([]byte, 128<<10)
	for until := time.Now().Add(answerTime); time.Now().Before(until); {
		n, err := unix.Read(q.fd, buf)
		if err == unix.EAGAIN || err == unix.EINTR {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(q.fd), Events: unix.POLLIN}}, 10) // the read says more
			continue
		}
		if err != nil {
			return err
		}
		if answered, err := q.take(buf[:n]); answered || err != nil {
			return err
		}
	}
	return errors.New("the kernel does not answer")
}

// take takes what was read: packets, and the answer to a request, if it is
// there. That a verdict was for nothing is no matter: an interface may go, and
// the kernel drops what waits for it.
func (q *queue) take(datagram []byte) (answered bool, err error) {
	err = messages(datagram, func(kind uint16, body []byte) error {
		switch kind {
		case unix.NLMSG_ERROR:
			sequence, answer, err := parseError(body)
			if err != nil || sequence != request {
				return err
			}
			answered = true
			return answer
		case msgPacket:
			p, err := parsePacket(body)
			if err != nil {
				return err
			}
			q.waiting++
			q.arrived(p)
		}
		return nil
	})
	return answered, err
}

const answerTime = 5 * time.Second

// judge puts a verdict on its way.
func (q *queue) judge(verdict, id uint32, payload []byte) {
	q.waiting--
	q.verdicts = appendVerdict(q.verdicts, msgVerdict, q.number, verdict, id, payload)
}

// judgeUpTo is one verdict for every packet up to one, which must all be known.
func (q *queue) judgeUpTo(verdict, id uint32, known int) {
	q.waiting -= known
	q.verdicts = appendVerdict(q.verdicts, msgBatch, q.number, verdict, id, nil)
}

// flush sends the verdicts that are on their way, all in one call.
func (q *queue) flush() error {
	if len(q.verdicts) == 0 {
		return nil
	}
	defer func() { q.verdicts = q.verdicts[:0] }()
	for {
		// Raw, as it never blocks: else Go may give this thread's place away.
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(q.fd), uintptr(unsafe.Pointer(&q.verdicts[0])), uintptr(len(q.verdicts)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(q.fd), Events: unix.POLLOUT}}, 10) // the send says more
		default:
			return fmt.Errorf("queue: verdict: %w", errno)
		}
	}
}

func (q *queue) close() { _ = unix.Close(q.fd) } // nothing more was to be sent

// mmsghdr is the kernel's struct of that name.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// inbox is where packets are read into, many in one call.
type inbox struct {
	memory  []byte // of the kernel, so that pages nobody uses cost nothing
	vectors [letters]unix.Iovec
	headers [letters]mmsghdr
}

const (
	letters = 32
	letter  = 68 << 10 // the largest packet and what is said of it
)

func newInbox() (*inbox, error) {
	memory, err := unix.Mmap(-1, 0, letters*letter, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("queue: memory: %w", err)
	}
	b := &inbox{memory: memory}
	for i := range b.headers {
		b.vectors[i].Base = &memory[i*letter]
		b.vectors[i].SetLen(letter)
		b.headers[i].header.Iov = &b.vectors[i]
		b.headers[i].header.SetIovlen(1)
	}
	return b, nil
}

// read reads what there is; n is 0 where there is nothing.
func (b *inbox) read(q *queue) (n int, err error) {
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&b.headers[0])), letters, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(got), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("queue: read: %w", errno)
}

func (b *inbox) letter(i int) []byte { return b.memory[i*letter:][:b.headers[i].length] }

func (b *inbox) close() { _ = unix.Munmap(b.memory) } // it is ours

// lines are the kernel's counts of the queues in a namespace.
type lines struct{ file *os.File }

func openLines() (*lines, error) {
	f, err := os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil {
		return nil, fmt.Errorf("queue: counts: %w", err)
	}
	return &lines{f}, nil
}

// of is how many packets wait in a queue, and how many the kernel has dropped
// for want of room.
func (l *lines) of(q *queue) (waiting, dropped uint64, err error) {
	buf := make([]byte, 64<<10)
	n, err := l.file.ReadAt(buf, 0)
	if n == 0 && err != nil {
		return 0, 0, fmt.Errorf("queue: counts: %w", err)
	}
	for line := range strings.Lines(string(buf[:n])) {
		var number, port, total, mode, size, full, unread uint64
		_, err := fmt.Sscan(line, &number, &port, &total, &mode, &size, &full, &unread)
		if err == nil && number == uint64(q.number) {
			return total, full + unread, nil
		}
	}
	return 0, 0, fmt.Errorf("queue: the kernel has no queue %d any more", q.number)
}

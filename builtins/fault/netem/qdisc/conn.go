package qdisc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netns"
)

// A conn speaks to the kernel about one namespace.
type conn struct {
	socket *nl.NetlinkSocket
	handle *netlink.Handle
	step   func()
}

func (e *Engine) dial(ns int) (*conn, error) {
	c := &conn{step: e.step}
	err := netns.Inside(ns, func() (err error) {
		if c.socket, err = nl.Subscribe(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		c.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err == nil {
		err = c.socket.SetExtAck(true) // errors in words
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return c, nil
}

func (c *conn) close() {
	if c.socket != nil {
		c.socket.Close()
	}
	if c.handle != nil {
		c.handle.Close()
	}
}

// ask sends one message and waits for the kernel's answer.
func (c *conn) ask(kind, flags int, about nl.TcMsg, attrs ...*nl.RtAttr) ([][]byte, error) {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Seq: req.Seq, Socket: c.socket}}
	about.Family = unix.AF_UNSPEC
	req.AddData(&about)
	for _, a := range attrs {
		req.AddData(a)
	}
	return req.Execute(unix.NETLINK_ROUTE, 0)
}

// do makes a change. What flags to give: creates, replaces, or neither.
func (c *conn) do(kind, flags int, about nl.TcMsg, attrs ...*nl.RtAttr) error {
	c.step()
	_, err := c.ask(kind, flags|unix.NLM_F_ACK, about, attrs...)
	return err
}

const creates = unix.NLM_F_CREATE | unix.NLM_F_EXCL

// gone says that there was nothing to delete.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

type link struct {
	index int
	name  string
}

// links are the interfaces that a fault is put on: all that are up, but for
// loopback and our own.
func (c *conn) links() ([]link, error) {
	all, err := c.handle.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var links []link
	for _, l := range all {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback == 0 && a.Flags&net.FlagUp != 0 && l.Type() != "ifb" {
			links = append(links, link{a.Index, a.Name})
		}
	}
	return links, nil
}

// Where a qdisc hangs.
const (
	root    = netlink.HANDLE_ROOT
	ingress = netlink.HANDLE_INGRESS // of clsact too
)

// seen is a qdisc as the kernel shows it.
type seen struct {
	index          int
	handle, parent uint32
	kind           string
	options        []byte
	block          uint32 // of an ingress
	bytes, packets uint64 // that have left it
	drops, queued  uint32
}

// is says that it is our root.
func (q seen) is(base uint16) bool {
	return q.kind == "prio" && q.parent == root && q.handle == uint32(base)<<16
}

func (c *conn) qdiscs() ([]seen, error) {
	raw, err := c.ask(unix.RTM_GETQDISC, unix.NLM_F_DUMP, nl.TcMsg{})
	if errors.Is(err, netlink.ErrDumpInterrupted) { // something changed meanwhile: once more
		raw, err = c.ask(unix.RTM_GETQDISC, unix.NLM_F_DUMP, nl.TcMsg{})
	}
	if err != nil {
		return nil, fmt.Errorf("list qdiscs: %w", err)
	}
	var all []seen
	for _, m := range raw {
		q, err := parseQdisc(m)
		if err != nil {
			return nil, fmt.Errorf("list qdiscs: %w", err)
		}
		all = append(all, q)
	}
	return all, nil
}

func parseQdisc(raw []byte) (q seen, err error) {
	if len(raw) < nl.SizeofTcMsg {
		return q, errors.New("the kernel's answer is too short")
	}
	head := nl.DeserializeTcMsg(raw)
	q = seen{index: int(head.Ifindex), handle: head.Handle, parent: head.Parent}
	attrs, err := nl.ParseRouteAttr(raw[head.Len():])
	for _, a := range attrs {
		switch {
		case a.Attr.Type == nl.TCA_KIND && len(a.Value) > 0:
			q.kind = string(a.Value[:len(a.Value)-1])
		case a.Attr.Type == nl.TCA_OPTIONS:
			q.options = a.Value
		case a.Attr.Type == nl.TCA_INGRESS_BLOCK && len(a.Value) >= 4:
			q.block = binary.NativeEndian.Uint32(a.Value)
		case a.Attr.Type == nl.TCA_STATS2:
			if err := q.parseStats(a.Value); err != nil {
				return q, err
			}
		}
	}
	return q, err
}

func (q *seen) parseStats(raw []byte) error {
	attrs, err := nl.ParseRouteAttr(raw)
	if err != nil {
		return err
	}
	wide := func(a syscall.NetlinkRouteAttr) uint64 { return binary.NativeEndian.Uint64(a.Value) }
	for _, a := range attrs {
		switch {
		case a.Attr.Type == nl.TCA_STATS_BASIC && len(a.Value) >= 12:
			q.bytes, q.packets = wide(a), uint64(binary.NativeEndian.Uint32(a.Value[8:]))
		case a.Attr.Type == nl.TCA_STATS_QUEUE && len(a.Value) >= 12:
			q.queued = binary.NativeEndian.Uint32(a.Value)
			q.drops = binary.NativeEndian.Uint32(a.Value[8:])
		}
	}
	return nil
}

package qdisc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
)

// priomap is the kernel's own: which of the first three bands a packet's
// priority means.
var priomap = [16]byte{1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}

const (
	anyProtocol   = 0x0300 // ETH_P_ALL, as the network has it
	stolen        = 4      // TC_ACT_STOLEN
	redirects     = 1      // TCA_EGRESS_REDIR
	ingressHandle = 0xffff0000
)

func rootOf(base uint16) uint32                { return uint32(base) << 16 }
func classOf(base, band uint16) uint32         { return rootOf(base) | uint32(band) }
func netemOf(base, band uint16) uint32         { return uint32(base+band) << 16 }
func blockOf(base uint16) uint32               { return rootOf(base) | 1 }
func ifbOf(base uint16) string                 { return fmt.Sprintf("chaos%04x", base) }
func filterOf(band uint16) uint32              { return uint32(band)<<16 | anyProtocol }
func on(index int, t nl.TcMsg) nl.TcMsg        { t.Ifindex = int32(index); return t }
func kindOf(name string) *nl.RtAttr            { return nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(name)) }
func uint32Attr(kind int, n uint32) *nl.RtAttr { return nl.NewRtAttr(kind, words(n)) }

// prio makes sure that an interface has our root, with so many bands.
func (c *conn) prio(index int, base, bands uint16, found []seen) error {
	options := binary.NativeEndian.AppendUint32(nil, uint32(bands))
	about := on(index, nl.TcMsg{Handle: rootOf(base), Parent: root})
	attrs := []*nl.RtAttr{kindOf("prio"), nl.NewRtAttr(nl.TCA_OPTIONS, append(options, priomap[:]...))}
	for _, q := range found {
		if q.index != index || !q.is(base) {
			continue
		}
		if len(q.options) >= 4 && binary.NativeEndian.Uint32(q.options) >= uint32(bands) {
			return nil
		}
		return c.do(unix.RTM_NEWQDISC, 0, about, attrs...)
	}
	return c.do(unix.RTM_NEWQDISC, creates, about, attrs...)
}

// netem puts an emulation into a band, or changes it.
func (c *conn) netem(index int, base, band uint16, e netem.Emulation, flags int) error {
	err := c.do(unix.RTM_NEWQDISC, flags, on(index, nl.TcMsg{Handle: netemOf(base, band), Parent: classOf(base, band)}),
		kindOf("netem"), options(e, flags == 0))
	if err != nil {
		return fmt.Errorf("netem: %w", err)
	}
	return nil
}

// filter sends packets to a band, from now on. It replaces the band's filter.
func (c *conn) filter(index int, base, band uint16, f netem.Filter, out bool) error {
	code, err := program(f, out)
	if err != nil {
		return err
	}
	options, err := bpfOptions(code)
	if err != nil {
		return err
	}
	options.AddRtAttr(nl.TCA_BPF_CLASSID, words(classOf(base, band)))
	about := on(index, nl.TcMsg{Handle: 1, Parent: rootOf(base), Info: filterOf(band)})
	if err := c.do(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE, about, kindOf("bpf"), options); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	return nil
}

func bpfOptions(code []bpf.Instruction) (*nl.RtAttr, error) {
	ops, err := raw(code)
	if err != nil {
		return nil, err
	}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_BPF_OPS_LEN, nl.Uint16Attr(uint16(len(code))))
	options.AddRtAttr(nl.TCA_BPF_OPS, ops)
	return options, nil
}

// ifb makes sure that there is the interface through which incoming packets
// go, and returns its index. Its queue is as long as others': in the first
// three bands nothing shall be lost.
func (c *conn) ifb(base uint16) (int, error) {
	l, err := c.handle.LinkByName(ifbOf(base))
	if missing(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.TxQLen = ifbOf(base), 1000
		c.step()
		if err := c.handle.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}); err != nil {
			return 0, fmt.Errorf("ifb: %w", err)
		}
		l, err = c.handle.LinkByName(ifbOf(base))
	}
	if err == nil {
		c.step()
		err = c.handle.LinkSetUp(l)
	}
	if err != nil {
		return 0, fmt.Errorf("ifb: %w", err)
	}
	return l.Attrs().Index, nil
}

func missing(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none)
}

// divert sends all that comes in on the interfaces through the ifb. Our ingress
// qdiscs share a block of filters, by whose number they are known again.
func (c *conn) divert(links []link, base uint16, ifb int, found []seen) error {
	for _, l := range links {
		there := false
		for _, q := range found {
			there = there || q.index == l.index && q.parent == ingress && q.block == blockOf(base)
		}
		if there {
			continue
		}
		err := c.do(unix.RTM_NEWQDISC, creates, on(l.index, nl.TcMsg{Handle: ingressHandle, Parent: ingress}),
			kindOf("ingress"), uint32Attr(nl.TCA_INGRESS_BLOCK, blockOf(base)))
		if err != nil {
			return fmt.Errorf("ingress of %s: %w", l.name, err)
		}
	}
	options, err := bpfOptions([]bpf.Instruction{bpf.RetConstant{Val: 0xffffffff}})
	if err != nil {
		return err
	}
	action := options.AddRtAttr(nl.TCA_BPF_ACT, nil).AddRtAttr(1, nil)
	action.AddRtAttr(nl.TCA_ACT_KIND, nl.ZeroTerminated("mirred"))
	action.AddRtAttr(nl.TCA_ACT_OPTIONS, nil).AddRtAttr(nl.TCA_MIRRED_PARMS, words(0, 0, stolen, 0, 0, redirects, uint32(ifb)))
	about := nl.TcMsg{Ifindex: -1, Handle: 1, Parent: blockOf(base), Info: filterOf(1)}
	if err := c.do(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE, about, kindOf("bpf"), options); err != nil {
		return fmt.Errorf("redirection to the ifb: %w", err)
	}
	return nil
}

// unfilter lets packets go where they went without us, from now on.
func (c *conn) unfilter(index int, base, band uint16) error {
	err := c.do(unix.RTM_DELTFILTER, 0, on(index, nl.TcMsg{Parent: rootOf(base), Info: filterOf(band)}))
	if gone(err) {
		return nil
	}
	return err
}

// remove takes a band away wherever it is, and with the last one all that we
// have put on an interface. It goes on past errors.
func (c *conn) remove(base, band uint16) error {
	found, err := c.qdiscs()
	if err != nil {
		return err
	}
	ifb := 0
	l, err := c.handle.LinkByName(ifbOf(base))
	if err == nil {
		ifb = l.Attrs().Index
	} else if !missing(err) {
		return fmt.Errorf("ifb: %w", err)
	}
	var errs []error
	diverted := false // for others too
	for _, q := range found {
		if !q.is(base) {
			continue
		}
		others := shared(found, q.index, base, band)
		diverted = diverted || others && q.index == ifb
		if others {
			errs = append(errs, c.removeBand(q.index, base, band, found))
		} else if q.index != ifb {
			errs = append(errs, c.delete(q))
		}
	}
	if diverted {
		return errors.Join(errs...)
	}
	for _, q := range found {
		if q.parent == ingress && q.block == blockOf(base) {
			errs = append(errs, c.delete(q))
		}
	}
	if ifb != 0 {
		c.step()
		if err := c.handle.LinkDel(l); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("ifb: %w", err))
		}
	}
	return errors.Join(errs...)
}

// shared says that our root on an interface has other bands' netem too.
func shared(found []seen, index int, base, band uint16) bool {
	for _, q := range found {
		if q.index == index && q.parent>>16 == uint32(base) && q.parent != classOf(base, band) && q.kind == "netem" {
			return true
		}
	}
	return false
}

func (c *conn) removeBand(index int, base, band uint16, found []seen) error {
	if err := c.unfilter(index, base, band); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	for _, q := range found {
		if q.index == index && q.handle == netemOf(base, band) && q.parent == classOf(base, band) {
			return c.delete(q)
		}
	}
	return nil
}

func (c *conn) delete(q seen) error {
	err := c.do(unix.RTM_DELQDISC, 0, on(q.index, nl.TcMsg{Handle: q.handle, Parent: q.parent}))
	if err != nil && !gone(err) {
		return fmt.Errorf("delete qdisc %s %x: of interface %d: %w", q.kind, q.handle>>16, q.index, err)
	}
	return nil
}

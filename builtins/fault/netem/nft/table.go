// Package nft keeps our rules in a network namespace's nftables: one table of
// our own, which the kernel deletes when our socket closes, however that
// comes about.
//
//	┌ inet table chaosrunner-… (flags owner) ──────────────────────┐
//	│ hook output:      out0 ─▶ out1 ─▶ …   one chain a layer      │ ─▶ conntrack, NAT, …
//	│ hook prerouting:  in0  ─▶ in1  ─▶ …                          │ ─▶ conntrack, NAT, …
//	└──────────────────────────────────────────────────────────────┘
//
// All faults in a namespace share the table, each with a layer of its own, and
// the chains stay until the last fault ends: whenever a chain goes, the kernel
// drops the packets that wait in any NFQUEUE of that namespace.
package nft

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netns"
)

const (
	prefix = "chaosrunner-"
	owner  = 2 // NFT_TABLE_F_OWNER: since Linux 5.12

	// Behind the reassembly of fragments, before conntrack: what is sent again
	// passes conntrack once, as if the program had sent it later.
	firstPlace = -390
	layers     = 80
)

// Tables are this process's tables, one in each namespace where it has layers.
type Tables struct {
	name string

	mu    sync.Mutex
	byNS  map[netns.ID]*table
	queue queueKind
}

// NewTables makes the tables of one process.
func NewTables() *Tables {
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	return &Tables{name: prefix + hex.EncodeToString(id), byNS: map[netns.ID]*table{}}
}

// Name is what the tables are called.
func (ts *Tables) Name() string { return ts.name }

// table is ours in one namespace.
type table struct {
	id    netns.ID
	conn  *nftables.Conn
	nft   *nftables.Table
	held  bool         // by the owner flag
	taken [layers]bool // by a layer
	made  map[string]*nftables.Chain
}

// Layer makes a layer behind those that are there. It has no rules yet.
func (ts *Tables) Layer(ns int) (*Layer, error) {
	id, err := identify(ns)
	if err != nil {
		return nil, err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if err := ts.lookForQueues(ns); err != nil {
		return nil, err
	}
	t := ts.byNS[id]
	if t == nil {
		if t, err = open(ns, ts.name); err != nil {
			return nil, err
		}
		t.id = id
		ts.byNS[id] = t
	}
	for n := range t.taken {
		if !t.taken[n] {
			t.taken[n] = true
			return &Layer{tables: ts, table: t, place: n}, nil
		}
	}
	return nil, fmt.Errorf("nftables: got more than %d network faults in one namespace", layers)
}

func identify(ns int) (netns.ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		return netns.ID{}, fmt.Errorf("network namespace: %w", err)
	}
	return netns.ID{Dev: uint64(st.Dev), Inode: st.Ino}, nil
}

// open makes the table. The library sends no flags with a table, so this one
// message goes over the library's socket by hand: the owner is the socket.
func open(ns int, name string) (*table, error) {
	var socket *netlink.Conn
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(ns),
		nftables.WithSockOptions(func(c *netlink.Conn) error { socket = c; return nil }))
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	t := &table{
		conn: conn, nft: &nftables.Table{Name: name, Family: nftables.TableFamilyINet},
		held: true, made: map[string]*nftables.Chain{},
	}
	err = create(socket, name, owner)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) { // an older kernel
		t.held = false
		err = create(socket, name, 0)
	}
	if err != nil {
		_ = conn.CloseLasting() // the error is told
		return nil, fmt.Errorf("nftables: make table %s: %w", name, err)
	}
	return t, nil
}

func create(socket *netlink.Conn, name string, flags byte) error {
	const subsystem = unix.NFNL_SUBSYS_NFTABLES
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(name), 0)},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, flags}},
	})
	if err != nil {
		return err
	}
	message := func(kind, flags, family, resource byte, data []byte, of uint16) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(of<<8 | uint16(kind)), Flags: netlink.Request | netlink.HeaderFlags(flags)},
			Data:   append([]byte{family, unix.NFNETLINK_V0, 0, resource}, data...),
		}
	}
	made := message(unix.NFT_MSG_NEWTABLE, byte(netlink.Acknowledge), unix.NFPROTO_INET, 0, attributes, subsystem)
	made.Header.Flags |= netlink.Create | netlink.Excl
	_, err = socket.SendMessages([]netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, subsystem, nil, 0), made,
		message(unix.NFNL_MSG_BATCH_END, 0, 0, subsystem, nil, 0),
	})
	if err == nil {
		_, err = socket.Receive()
	}
	return err
}

// close deletes the table.
func (t *table) close() error {
	t.conn.DelTable(t.nft)
	err := t.conn.Flush()
	if t.held && errors.Is(err, unix.ENOENT) {
		err = nil
	}
	if closing := t.conn.CloseLasting(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("nftables: delete table %s: %w", t.nft.Name, err)
	}
	return nil
}

// Remove deletes the table of that name, which a process that has died has
// left: kernels without the owner flag keep it. There being none is success.
func Remove(ns int, name string) error {
	if !strings.HasPrefix(name, prefix) {
		return fmt.Errorf("nftables: %q is not a table of ours", name)
	}
	names, err := List(ns)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n != name {
			continue
		}
		conn, err := nftables.New(nftables.WithNetNSFd(ns))
		if err == nil {
			conn.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
			err = conn.Flush()
		}
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
		case errors.Is(err, os.ErrPermission):
			return fmt.Errorf("nftables: table %s belongs to a process that is alive: %w", name, err)
		default:
			return fmt.Errorf("nftables: delete table %s: %w", name, err)
		}
	}
	return nil
}

// List names the tables of any run of ours in a namespace.
func List(ns int) ([]string, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("nftables: list tables: %w", err)
	}
	var names []string
	for _, t := range tables {
		if strings.HasPrefix(t.Name, prefix) {
			names = append(names, t.Name)
		}
	}
	return names, nil
}

// Package qdisc is the engine that lets the kernel's own netem do it.
//
//	each interface but lo                       the other direction, if it is meant
//	└─ prio BASE:                               └─ ingress ─ all packets ─▶ ifb chaosBASE
//	   ├─ bands 1–3, as without us                                         └─ prio BASE: … as on the left
//	   ├─ band 4 ─ netem BASE+4:  ◀─ filter 4: a classic BPF program made of the Filter
//	   └─ band 5 ─ netem BASE+5:  ◀─ filter 5: another fault's
//
// It speaks netlink only. It builds on nothing but interfaces that have the
// kernel's default: what somebody put there is refused and never replaced. BASE,
// the band, and the name of the ifb stand in the fault's record, so that Undo
// finds just these again in any process.
//
// Faults whose filters are equal share a band, whose netem then does what both
// ask for. What the kernel holds is read back, and compared with what was asked.
package qdisc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns"
)

// An Engine is one process's. It knows what this process has put where.
type Engine struct {
	mu     sync.Mutex
	spaces map[netns.ID]*space

	trial trial

	step func() // before each change of the world: where tests kill
}

// New makes an engine.
func New() *Engine { return &Engine{spaces: map[netns.ID]*space{}, step: func() {}} }

var _ netem.Engine = (*Engine)(nil)

// Name implements [netem.Engine].
func (*Engine) Name() string { return "qdisc" }

// A space is one namespace as far as this process has harmed it.
type space struct {
	mu     sync.Mutex
	base   uint16                  // major handle of the roots; 0: not chosen yet
	booked map[uint16]netem.Filter // what a band is kept for
	bands  map[uint16]*band        // those that are in
}

// A band is what happens to one filter's packets.
type band struct {
	filter netem.Filter
	held   []*held
}

// A record is what Undo needs.
type record struct {
	Base uint16 `json:"base"`
	Band uint16 `json:"band"`
	Job  string `json:"job"`
}

func (e *Engine) space(ns int) (*space, error) {
	id, err := identify(ns)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.spaces[id]
	if s == nil {
		s = &space{booked: map[uint16]netem.Filter{}, bands: map[uint16]*band{}}
		e.spaces[id] = s
	}
	return s, nil
}

func identify(ns int) (netns.ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		return netns.ID{}, fmt.Errorf("network namespace: %w", err)
	}
	return netns.ID{Dev: uint64(st.Dev), Inode: st.Ino}, nil
}

// What the kernel's structures hold.
const maxJitter = math.MaxInt32 // ns

// Can implements [netem.Engine].
func (q *Engine) Can(e netem.Emulation, f netem.Filter) error {
	if err := q.trial.incoming(); err != nil && f.Direction != netem.Out {
		return fmt.Errorf("direction: got %q: %w", f.Direction, err)
	}
	if e.Jitter > maxJitter {
		return fmt.Errorf("jitter: got %v, and the kernel's netem holds at most 2.147s", e.Jitter)
	}
	if e.Seed != 0 && !newerThan(6, 7) {
		return errors.New("seed: the kernel's netem takes one from Linux 6.7 on; leave it away, or use the engine nfqueue")
	}
	_, err := program(f, true)
	return err
}

func newerThan(major, minor int) bool {
	var name unix.Utsname
	var a, b int
	if err := unix.Uname(&name); err != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// Prepare implements [netem.Engine].
func (e *Engine) Prepare(_ context.Context, ns int, job netem.Job) (json.RawMessage, error) {
	s, err := e.space(ns)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := e.dial(ns)
	if err != nil {
		return nil, err
	}
	defer c.close()
	links, err := c.links()
	if err != nil {
		return nil, err
	}
	found, err := c.qdiscs()
	if err != nil {
		return nil, err
	}
	if err := s.unharmed(links, found, job.Filter); err != nil {
		return nil, err
	}
	if s.base == 0 {
		if s.base, err = freeBase(found); err != nil {
			return nil, err
		}
	}
	b, err := s.book(job)
	if err != nil {
		return nil, err
	}
	return json.Marshal(record{Base: s.base, Band: b, Job: job.ID})
}

// unharmed refuses interfaces that carry what somebody put there.
func (s *space) unharmed(links []link, found []seen, f netem.Filter) error {
	if len(links) == 0 {
		return errors.New("there is no network interface that is up, loopback aside")
	}
	for _, l := range links {
		for _, q := range found {
			if q.index != l.index {
				continue
			}
			if q.parent == root && q.handle != 0 && !(s.base != 0 && q.is(s.base)) {
				return fmt.Errorf("interface %s has the qdisc %s %x: already, which is not ours: "+
					"it is left alone; remove it, or use the engine nfqueue", l.name, q.kind, q.handle>>16)
			}
			if q.parent == ingress && f.Direction != netem.Out && !(s.base != 0 && q.block == blockOf(s.base)) {
				return fmt.Errorf("direction: got %q, and interface %s has a %s qdisc already, which is not ours: "+
					"it is left alone; remove it, or use the engine nfqueue", f.Direction, l.name, q.kind)
			}
		}
	}
	return nil
}

// freeBase chooses a handle whose whole row nobody uses.
func freeBase(found []seen) (uint16, error) {
	for range 100 {
		base := uint16(0x100+rand.IntN(0x7e0)) << 4 // the kernel's own choices begin at 0x8000
		free := true
		for _, q := range found {
			free = free && uint16(q.handle>>16)&^0xf != base
		}
		if free {
			return base, nil
		}
	}
	return 0, errors.New("there is no free handle")
}

// The bands of a prio.
const (
	firstBand = 4  // after the three that are as without us
	lastBand  = 15 // a handle's last digit
)

// book chooses a band: that of faults with the same filter, else a free one. A
// booking that never came is given up when there is no other.
func (s *space) book(job netem.Job) (uint16, error) {
	for n, b := range s.bands {
		if b.filter.Equal(job.Filter) {
			_, err := merge(append(b.emulations(), job.Emulation))
			return n, err
		}
	}
	for n, f := range s.booked {
		if s.bands[n] == nil && f.Equal(job.Filter) {
			return n, nil
		}
	}
	for _, booked := range []map[uint16]netem.Filter{s.booked, nil} {
		for n := uint16(firstBand); n <= lastBand; n++ {
			if _, taken := booked[n]; !taken && s.bands[n] == nil {
				s.booked[n] = job.Filter
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("there is room for %d faults with filters of their own, and they are in", lastBand-firstBand+1)
}

func (b *band) emulations() (all []netem.Emulation) {
	for _, h := range b.held {
		all = append(all, h.job.Emulation)
	}
	return all
}

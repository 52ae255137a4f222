package netem

import (
	"fmt"
	"time"
)

const (
	packetsOf  = 120_000 // a second, that a limit which nobody gave has room for: 1.4 Gbit/s of full packets
	leastLimit = 1000    // the kernel's own
	mostLimit  = 65536   // of those that are computed: 100 MB of full packets
	fullPacket = 1500 * 8
)

// longest is how long a packet is held, jitter's tail left aside.
func (e *Emulation) longest() time.Duration {
	d := e.Delay + e.Jitter
	if e.Slot != nil {
		d += e.Slot.Max
	}
	return d
}

// Holds is the number of packets that may be held at once: what was asked for,
// else room for all that a fast link sends during the delay. The kernel's own
// 1000 drop silently: under 3 s of delay they let 333 packets a second pass.
func (e *Emulation) Holds() int {
	if e.Limit > 0 {
		return e.Limit
	}
	n := int(e.longest().Seconds() * packetsOf)
	return min(max(n, leastLimit), mostLimit)
}

// Warning says what of the limit people may not expect; empty: nothing.
func (e *Emulation) Warning() string {
	held := e.longest().Seconds()
	if held == 0 {
		return ""
	}
	passes := float64(e.Holds()) / held // packets a second
	switch asked := float64(e.Rate) / fullPacket; {
	case e.Rate > 0 && asked > passes:
		return fmt.Sprintf("limit: %d packets are too few for a rate of %s under %v of delay, which holds %.0f: the rest is dropped",
			e.Holds(), Bits(e.Rate), e.longest(), asked*held)
	case e.Rate == 0 && passes < packetsOf/12:
		return fmt.Sprintf("limit: %d packets under %v of delay let at most %.0f packets/s pass: the rest is dropped",
			e.Holds(), e.longest(), passes)
	}
	return ""
}

// Bits is a rate as people write it.
func Bits(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%gGbit", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%gMbit", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%gkbit", float64(n)/1e3)
	}
	return fmt.Sprintf("%dbit", n)
}

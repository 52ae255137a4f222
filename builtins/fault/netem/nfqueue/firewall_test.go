package nfqueue

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/netem"
	"chaosrunner/builtins/fault/netns/scratch"
)

// The target's own firewall and NAT see a packet once, and in its order: here
// only answers may come in, and a name of the service is translated.
func TestBesideAFirewall(t *testing.T) {
	a, b := scratch.Pair(t)
	conn, err := nftables.New(nftables.WithNetNSFd(a.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	own := conn.AddTable(&nftables.Table{Name: "own", Family: nftables.TableFamilyIPv4})
	in := conn.AddChain(&nftables.Chain{
		Name: "in", Table: own, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	conn.AddRule(&nftables.Rule{Table: own, Chain: in, Exprs: []expr.Any{ // ct state new,invalid,untracked drop
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitNEW | expr.CtStateBitINVALID | expr.CtStateBitUNTRACKED),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop},
	}})
	nat := conn.AddChain(&nftables.Chain{
		Name: "nat", Table: own, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	conn.AddRule(&nftables.Rule{Table: own, Chain: nat, Exprs: []expr.Any{ // ip daddr 10.77.0.99 dnat to 10.77.0.2
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Register: 1, Data: []byte{10, 77, 0, 99}},
		&expr.Immediate{Register: 1, Data: scratch.B4.AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	held := apply(t, a, netem.Filter{Direction: netem.Both, Protocol: "tcp"}, netem.Emulation{Delay: 5 * time.Millisecond, Duplicate: 0.02})
	body := make([]byte, 256<<10)
	for _, host := range []string{"10.77.0.2", "10.77.0.99"} {
		if got := echoAt(t, a, b, "10.77.0.2", host, body); got != sha256.Sum256(body) {
			t.Errorf("through %s: what comes back is not what was sent", host)
		}
	}
	rules, err := conn.GetRules(own, in)
	if err != nil || len(rules) != 1 {
		t.Fatalf("got %d rules (%v)", len(rules), err)
	}
	for _, e := range rules[0].Exprs {
		if c, ok := e.(*expr.Counter); ok && c.Packets > 0 {
			t.Errorf("the firewall has dropped %d packets", c.Packets)
		}
	}
	if s := stats(t, held); s.Packets < 100 {
		t.Errorf("got %+v, want many packets", s)
	}
}

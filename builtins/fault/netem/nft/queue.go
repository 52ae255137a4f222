package nft

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// queueKind is how this kernel spells "to a queue" in a rule.
type queueKind int

const (
	unknown queueKind = iota
	native            // nftables' own expression
	compat            // iptables' target NFQUEUE, through nft_compat
)

func (k queueKind) statement(number uint16, bypass bool) expr.Any {
	if k == compat {
		const revision, bypassFlag = 3, 1
		var flags uint16
		if bypass {
			flags = bypassFlag
		}
		info := xt.Unknown{} // struct xt_NFQ_info_v3
		for _, field := range []uint16{number, 1, flags, 0} {
			info = append(info, binaryutil.NativeEndian.PutUint16(field)...)
		}
		return &expr.Target{Name: "NFQUEUE", Rev: revision, Info: &info}
	}
	q := &expr.Queue{Num: number, Total: 1}
	if bypass {
		q.Flag = expr.QueueFlagBypass
	}
	return q
}

// Available says why there can be no queues in a namespace.
func (ts *Tables) Available(ns int) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.lookForQueues(ns)
}

func (ts *Tables) lookForQueues(ns int) error {
	if ts.queue != unknown {
		return nil
	}
	var errs []error
	for _, kind := range []queueKind{native, compat} {
		err := try(ns, ts.name+"-try", kind)
		if err == nil {
			ts.queue = kind
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("nftables has no queues here (CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE): %w",
		errors.Join(errs...))
}

// try makes a rule that no packet meets and deletes it in one transaction.
func try(ns int, name string, kind queueKind) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return err
	}
	t := conn.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	c := conn.AddChain(&nftables.Chain{Name: "try", Table: t})
	conn.AddRule(&nftables.Rule{Table: t, Chain: c, Exprs: []expr.Any{kind.statement(nowhere, true)}})
	conn.DelTable(t)
	return conn.Flush()
}

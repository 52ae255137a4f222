package agent

import (
	"errors"
	"time"

	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

// CheckTarget says what is wrong with a target expression, if anything.
func CheckTarget(text string) error {
	_, err := parseExpr(text)
	return err
}

// bind reads the operator's policy. One that cannot be read ends a run before
// it begins; undoing goes on without it, but nothing else is allowed then.
func (a *agent) bind(in protocol.Hello) error {
	p, err := in.Policy.Parse(CheckTarget)
	switch {
	case err != nil && in.Mode == protocol.ModeRecover:
		p = policy.Broken(err)
	case err != nil:
		return protocol.Errorf(protocol.CodeRefused, "agent: %v", err)
	}
	a.policy = p
	return nil
}

// rules are what binds whatever is done for a run: the policy of now, and that
// under which a dead run was begun.
func (a *agent) rules(run string) *policy.Policy {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.left {
		if d.run() == run {
			return a.policy.And(d.policy())
		}
	}
	return a.policy
}

// policy is that under which the dead run was begun.
func (d *dead) policy() *policy.Policy {
	h := d.contents.Header
	if h.Began.IsZero() {
		return policy.Broken(errors.New("the head of the ledger of run " + d.run() + " is lost"))
	}
	p, err := h.Policy.Parse(CheckTarget)
	if err != nil {
		return policy.Broken(err)
	}
	return p
}

// leaves are what a kind of fault needs whatever its target is. What depends on
// that is asked for by the kind itself, of its World.
var leaves = map[string]func(*policy.Policy) error{
	"exec":        (*policy.Policy).Exec,
	"throttle_io": (*policy.Policy).IO,
}

// obey refuses a fault that the operator's policy does not allow. Whether its
// target may be touched at all is the finder's.
func (a *agent) obey(in protocol.Apply) error {
	now := time.Now()
	if a.book == nil {
		now = time.Time{} // a plan is for another hour
	}
	err := a.policy.Fault(in.Kind, in.TTL-protocol.Grace, now)
	if leave, needed := leaves[in.Kind]; needed {
		err = errors.Join(err, leave(a.policy))
	}
	if err != nil {
		return protocol.Errorf(protocol.CodeRefused, "%s: %v", in.Kind, err)
	}
	return a.crowd(in)
}

// crowd refuses a fault with which more containers would be harmed at once than
// the policy allows, those of other runs on this engine with them.
func (a *agent) crowd(in protocol.Apply) error {
	if !a.policy.Counts() {
		return nil
	}
	harmed := map[string]bool{in.Target.ID: true}
	a.mu.Lock()
	for _, c := range a.charges {
		if !c.out.Load() {
			harmed[c.Target.ID] = true
		}
	}
	a.mu.Unlock()
	others, err := a.claims.others()
	if err != nil {
		return err
	}
	for _, id := range others {
		harmed[id] = true
	}
	if err := a.policy.AtMost(len(harmed)); err != nil {
		return protocol.Errorf(protocol.CodeRefused, "%s: %v", in.Kind, err)
	}
	return nil
}

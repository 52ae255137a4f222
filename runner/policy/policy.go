// Package policy is what the operator allows: a YAML file that narrows what any
// script may do.
//
//	operator ──▶ policy.yaml ──read by the command──▶ supervisor ──hello──▶ agent: parsed again,
//	                                                                        enforced on every apply
//
// The file is data and not Starlark, and it is the agent that enforces it, next
// to what it would harm: a script cannot widen it, nor can a supervisor that has
// gone astray. The run's ledger keeps its text, so that what a dead run's
// rollbacks do in `runner recover` is bound by it too.
//
//	never: [postgres, "label:tier=db"]   # targets that nothing may touch
//	kinds: [kill, pause, netem]          # of faults; all, without it
//	longest: 60s                         # that one fault may last
//	at_most: 2                           # containers harmed at once, over all runs on the engine
//	hours:                               # a fault begins and ends in them
//	  zone: Europe/Berlin
//	  days: [mon, tue, wed, thu, fri]
//	  from: "09:00"
//	  until: "17:00"
//	exec: true                           # run programs in containers; true without it
//	io: true                             # slow a container's disks down; true without it
//	write_sql: false                     # false without it, as are the next two
//	host_disk: false                     # fill a disk that the host itself lives on
//	root_netns: false                    # harm the host's own network namespace
//
// An unknown rule is an error: it may be a misspelt one, and then nobody would
// be bound by it.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Default is the file that holds where it exists and no other is named.
const Default = "/etc/runner/policy.yaml"

// A Policy is an operator's file. Nil allows what is allowed without one.
type Policy struct {
	path string

	never   []Target
	kinds   *rule[[]string]
	longest *rule[time.Duration]
	atMost  *rule[int]
	hours   *rule[[]window]
	may     map[string]rule[bool]

	broken error   // it cannot be read: it allows nothing
	also   *Policy // holds as well
}

// A rule is what one line of the file says.
type rule[T any] struct {
	value T
	line  int
}

// A Target is one that nothing may touch.
type Target struct {
	Expr string
	Line int
	path string
}

// Refuse says that a target is one of these.
func (t Target) Refuse(called string) error {
	return fmt.Errorf("policy %s:%d: never %s: %s is not to be touched", t.path, t.Line, t.Expr, called)
}

// Broken is a policy that cannot be read: in doubt it allows nothing.
func Broken(why error) *Policy { return &Policy{broken: why} }

// And is the policy that allows what both allow.
func (p *Policy) And(q *Policy) *Policy {
	if p == nil {
		return q
	}
	both := *p
	both.also = p.also.And(q)
	return &both
}

// all has the policies that hold.
func (p *Policy) all(yield func(*Policy) bool) {
	for ; p != nil && yield(p); p = p.also {
	}
}

func (p *Policy) refuse(line int, format string, args ...any) error {
	return fmt.Errorf("policy %s:%d: %s", p.path, line, fmt.Sprintf(format, args...))
}

func (p *Policy) unread() error {
	return fmt.Errorf("the policy cannot be read, so that nothing is allowed: %w", p.broken)
}

// Fault says whether a fault of that kind may last so long from now on; at no
// time in particular where now is zero.
func (p *Policy) Fault(kind string, lasts time.Duration, now time.Time) error {
	var no []error
	for q := range p.all {
		switch {
		case q.broken != nil:
			no = append(no, q.unread())
			continue
		case q.kinds != nil && !slices.Contains(q.kinds.value, kind):
			no = append(no, q.refuse(q.kinds.line, "kinds: got %s, want %s", kind, q.kindsText()))
		}
		if q.longest != nil && lasts > q.longest.value {
			no = append(no, q.refuse(q.longest.line, "longest: got a fault that may last %s, want at most %s: give it a duration", lasts, q.longest.value))
		}
		if q.hours != nil && !now.IsZero() {
			if err := within(q.hours.value, now, now.Add(lasts)); err != nil {
				no = append(no, q.refuse(q.hours.line, "hours: %v", err))
			}
		}
	}
	return errors.Join(no...)
}

func (p *Policy) kindsText() string {
	if len(p.kinds.value) == 0 {
		return "no fault at all"
	}
	return "only " + strings.Join(p.kinds.value, ", ")
}

// AtMost says whether so many containers may be harmed at once.
func (p *Policy) AtMost(n int) error {
	var no []error
	for q := range p.all {
		if q.atMost != nil && n > q.atMost.value {
			no = append(no, q.refuse(q.atMost.line, "at_most: got %d containers harmed at once, want at most %d", n, q.atMost.value))
		}
	}
	return errors.Join(no...)
}

// Counts says whether it matters how many containers are harmed at once.
func (p *Policy) Counts() bool {
	for q := range p.all {
		if q.atMost != nil {
			return true
		}
	}
	return false
}

// Never has the targets that nothing may touch.
func (p *Policy) Never() (all []Target) {
	for q := range p.all {
		all = append(all, q.never...)
	}
	return all
}

// leaves are what is allowed or not by a word, and what holds without it.
var leaves = []struct {
	name, what string
	without    bool
}{
	{"exec", "run programs in containers", true},
	{"io", "slow a container's disks down", true},
	{"write_sql", "send SQL that writes", false},
	{"host_disk", "fill a disk that the host itself lives on", false},
	{"root_netns", "harm the host's own network namespace", false},
}

// Exec says whether programs may be run in containers.
func (p *Policy) Exec() error { return p.leave("exec") }

// IO says whether a container's disks may be slowed down.
func (p *Policy) IO() error { return p.leave("io") }

// WriteSQL says whether SQL that writes may be sent.
func (p *Policy) WriteSQL() error { return p.leave("write_sql") }

// HostDisk says whether a disk may be filled that the host itself lives on.
func (p *Policy) HostDisk() error { return p.leave("host_disk") }

// RootNetns says whether the host's own network namespace may be harmed.
func (p *Policy) RootNetns() error { return p.leave("root_netns") }

// leave asks for one word's worth: a no counts for more than a yes.
func (p *Policy) leave(name string) error {
	said := false
	for q := range p.all {
		r, has := q.may[name]
		switch {
		case q.broken != nil:
			return q.unread()
		case has && !r.value:
			return q.refuse(r.line, "%s: false", name)
		case has:
			said = true
		}
	}
	for _, l := range leaves {
		if l.name == name && !l.without && !said {
			return fmt.Errorf("no policy allows to %s: write `%s: true` in %s, or in a file named with --policy", l.what, name, Default)
		}
	}
	return nil
}

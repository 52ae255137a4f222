// Package ledger keeps the remedies of a run's faults on disk, before the harm.
//
//	/var/lib/runner/<engine id>/
//	├── lock               flock: the one run on this engine, its holder in JSON; or shared by several
//	├── target-<id>.lock   flock: the one of several that may harm this container
//	├── <run>.ledger       flock: its agent is alive
//	└── <run>.ledger.damaged-<n>   kept for people, when something in it could not be read
//
// A ledger only grows, one record a line:
//
//	crc32c length {"what":"intent","at":…,"intent":{"id":"f1",…}}
//
//	header ─▶ intent f1 ─▶ applied f1 ─▶ undoing f1 ─▶ undone f1 ─▶ closed
//	          │ fsynced, with room on disk for the three that follow it
//	          └ a run that lost its disk after this point can still be undone
//
// Only the header, intents and all that is said of script rollbacks are fsynced:
// to lose any other record means at worst that an idempotent undo is tried once
// more. Dead means
// exactly that the flock can be taken; no process number is ever trusted.
package ledger

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

// Default is where ledgers lie unless told otherwise.
const Default = "/var/lib/runner"

// Header says whose ledger it is.
type Header struct {
	Run        string             `json:"run"`
	Engine     string             `json:"engine"`
	Began      time.Time          `json:"began"`
	Process    Process            `json:"process"`          // the agent
	Shared     bool               `json:"shared,omitempty"` // other runs may go on beside it
	Policy     *policy.File       `json:"policy,omitempty"` // under which it was begun
	Experiment protocol.RunHeader `json:"experiment"`
}

// Process names a process beyond the reuse of its number.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`  // field 22 of /proc/PID/stat
	Boot  string `json:"boot"`   // /proc/sys/kernel/random/boot_id
	PIDNS string `json:"pid_ns"` // where the number means something
}

// Intent is one fault, whole, as it was about to be applied.
type Intent struct {
	ID     string          `json:"id"`
	Kind   string          `json:"kind"`
	Target fault.Target    `json:"target"`
	Fault  json.RawMessage `json:"fault"` // for fault.Load
	Harm   string          `json:"harm"`
	Remedy string          `json:"remedy"`
	Mend   string          `json:"mend"`
	TTL    time.Duration   `json:"ttl"`
	At     time.Time       `json:"at"`
}

// What a record says.
const (
	header   = "header"
	intent   = "intent"
	applied  = "applied"
	undoing  = "undoing"
	undone   = "undone"
	stuck    = "stuck"
	rollback = "rollback"
	rolling  = "rolling"
	rolled   = "rolled"
	closed   = "closed"
	reported = "reported"
)

type record struct {
	What     string               `json:"what"`
	At       time.Time            `json:"at"`
	ID       string               `json:"id,omitempty"`
	Header   *Header              `json:"header,omitempty"`
	Intent   *Intent              `json:"intent,omitempty"`
	Result   *protocol.UndoResult `json:"result,omitempty"`
	Rollback json.RawMessage      `json:"rollback,omitempty"`
	Text     string               `json:"text,omitempty"`
}

// Fault is what a ledger says of one fault.
type Fault struct {
	Intent  Intent
	Applied bool
	Undoing bool                 // an undo has begun, perhaps more than once
	Undone  bool                 // it is out
	Result  *protocol.UndoResult // of its last undo
}

// Contents is what a ledger says.
type Contents struct {
	Header    Header
	Faults    []Fault           // in the order of their intents
	Rollbacks []json.RawMessage // script rollbacks that have not run
	Begun     []string          // ids of those that have begun
	Closed    string            // why its epoch ended; empty: it has not
	Reported  bool              // some start has been told of it already
	Damage    string            // what could not be read
}

// In lists the faults that are not out.
func (c *Contents) In() []Fault {
	return slices.DeleteFunc(slices.Clone(c.Faults), func(f Fault) bool { return f.Undone })
}

// Pending says whether the script rollback id has yet to run.
func (c *Contents) Pending(id string) bool {
	return slices.ContainsFunc(c.Rollbacks, func(raw json.RawMessage) bool { return rollbackID(raw) == id })
}

// Rolled notes that the script rollback id has run.
func (c *Contents) Rolled(id string) {
	c.Rollbacks = slices.DeleteFunc(c.Rollbacks, func(raw json.RawMessage) bool { return rollbackID(raw) == id })
	c.Begun = slices.DeleteFunc(c.Begun, func(b string) bool { return b == id })
}

func rollbackID(raw json.RawMessage) string {
	var r struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(raw, &r) != nil {
		return ""
	}
	return r.ID
}

// replay makes Contents of a ledger's bytes. Records of a fault whose intent is
// lost are told as damage: its remedy went with it.
func replay(raw []byte) Contents {
	records, damage := parse(raw)
	var c Contents
	at := map[string]int{}
	for _, r := range records {
		switch r.What {
		case header:
			if r.Header != nil {
				c.Header = *r.Header
			}
			continue
		case intent:
			if r.Intent != nil {
				at[r.Intent.ID] = len(c.Faults)
				c.Faults = append(c.Faults, Fault{Intent: *r.Intent})
			}
			continue
		case rollback:
			c.Rollbacks = append(c.Rollbacks, r.Rollback)
			continue
		case rolling:
			if c.Pending(r.ID) && !slices.Contains(c.Begun, r.ID) {
				c.Begun = append(c.Begun, r.ID)
			}
			continue
		case rolled:
			c.Rolled(r.ID)
			continue
		case closed:
			c.Closed = r.Text
			continue
		case reported:
			c.Reported = true
			continue
		}
		i, known := at[r.ID]
		if !known {
			damage = append(damage, fmt.Sprintf("the intent of fault %q is lost, its record %q is not", r.ID, r.What))
			continue
		}
		f := &c.Faults[i]
		switch r.What {
		case applied:
			f.Applied = true
		case undoing:
			f.Undoing = true
		case undone, stuck:
			if !f.Undone { // a late record of a failed attempt changes nothing
				f.Undone, f.Result = r.What == undone, r.Result
			}
		}
	}
	c.Damage = strings.Join(damage, "; ")
	return c
}

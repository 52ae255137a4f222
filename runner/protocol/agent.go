package protocol

import (
	"encoding/json"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/policy"
)

// The calls of a supervisor to its agent.
const (
	CallHello     = "hello"     // Hello → Welcome; must come first
	CallHeartbeat = "heartbeat" // Beat → nothing
	CallResolve   = "resolve"   // Resolve → Resolved
	CallDescribe  = "describe"  // Apply → Described; looks, touches nothing
	CallApply     = "apply"     // Apply → Applied, once the fault is seen in place
	CallUpdate    = "update"    // Update → Updated; changes a fault that is in
	CallUndo      = "undo"      // Undo → Undone
	CallUndoAll   = "undo_all"  // UndoAll → Undone; ends the epoch: every later apply is refused
	CallFetch     = "fetch"     // Fetch → Fetched
	CallAddress   = "address"   // Address → Addressed
	CallRollback  = "rollback"  // Rollback → nothing; a script rollback is on disk
	CallRolling   = "rolling"   // Rolled → nothing; that script rollback is waited for, and begins
	CallRolled    = "rolled"    // Rolled → nothing; that script rollback has run
	CallSettled   = "settled"   // Settled → nothing; the end of a dead run is written, and its ledger removed
	CallClose     = "close"     // nothing → nothing; the ledger is closed as ended and removed
)

// The events of an agent.
const (
	EventUndone = "undone" // UndoResult: a fault was taken back (TTL, undo-all)
	EventEpoch  = "epoch"  // Epoch: the agent has begun or ended its undo-all
	EventTold   = "told"   // Told: a fault's remark
	EventLost   = "lost"   // Lost: a fault has stopped acting by itself
)

// Hello opens an agent's epoch.
type Hello struct {
	Run       string        `json:"run"`                 // the run's id; names its ledger
	Mode      string        `json:"mode"`                // ModeRun, ModeLook or ModeRecover
	State     string        `json:"state,omitempty"`     // directory of ledgers; empty: the default
	Project   string        `json:"project,omitempty"`   // Compose project; empty: any
	Allow     []string      `json:"allow,omitempty"`     // target expressions the operator allowed
	Policy    *policy.File  `json:"policy,omitempty"`    // the operator's; nil: there is none
	Shared    bool          `json:"shared,omitempty"`    // go on beside other runs that share the engine
	Heartbeat time.Duration `json:"heartbeat,omitempty"` // silence that ends the epoch; 0: 3 s
	Undo      time.Duration `json:"undo,omitempty"`      // how long one undo may take once the engine takes its call; 0: 30 s
	Header    RunHeader     `json:"header"`
}

// RunHeader stands at the head of a ledger, so that whoever finds it can
// write the log entry of a run whose supervisor died.
type RunHeader struct {
	Name   string `json:"name,omitempty"`    // the experiment's
	Script string `json:"script,omitempty"`  // its path
	OutDir string `json:"out_dir,omitempty"` // absolute, the run's folder
	Log    string `json:"log,omitempty"`     // absolute, CHAOS_LOG.md
}

// What an agent is for.
const (
	ModeRun     = "run"     // takes the engine's lock, undoes what dead runs left, opens a ledger
	ModeLook    = "look"    // plan: resolves and describes; no lock, no ledger, applies nothing
	ModeRecover = "recover" // undoes what dead runs left (of Run only, if given), then ends
)

// Welcome answers Hello.
type Welcome struct {
	PID           int         `json:"pid"`
	EngineID      string      `json:"engine_id"`
	EngineVersion string      `json:"engine_version"`
	APIVersion    string      `json:"api_version"`
	Ledger        string      `json:"ledger,omitempty"` // path
	Recovered     []Abandoned `json:"recovered,omitempty"`
}

// Abandoned is a run whose supervisor and agent died, and what became of it.
type Abandoned struct {
	Run       string            `json:"run"`
	Header    RunHeader         `json:"header"`
	Results   []UndoResult      `json:"results"`
	Rollbacks []json.RawMessage `json:"rollbacks,omitempty"` // Rollback records not yet run
	Begun     []string          `json:"begun,omitempty"`     // ids of those that had begun, and whose end nobody has told
	Damaged   string            `json:"damaged,omitempty"`   // what was unreadable in its ledger
	Again     bool              `json:"again,omitempty"`     // an earlier start was told of it already
}

// Beat is the watcher's sign of life, sent after each evaluation.
type Beat struct {
	N uint64 `json:"n"`
}

// Resolve asks which containers target expressions mean.
type Resolve struct {
	Targets []string `json:"targets"`
}

// Resolved has one Match for each expression, in order.
type Resolved struct {
	Matches []Match `json:"matches"`
}

// Match is what one target expression means now. An expression that means
// nothing is an error with CodeNoTarget, never an empty Match.
type Match struct {
	Expr    string         `json:"expr"`
	Targets []fault.Target `json:"targets"`
}

// Apply asks for one fault on one container. The agent refuses it unless the
// target is the same generation, opted in or allowed.
type Apply struct {
	ID     string          `json:"id"` // unique in the run: "f1", "f1.2"
	Kind   string          `json:"kind"`
	Params json.RawMessage `json:"params,omitempty"`
	Target fault.Target    `json:"target"`
	TTL    time.Duration   `json:"ttl"`              // the agent takes the fault back by itself after this; must be > 0
	Radius []string        `json:"radius,omitempty"` // ids of the containers that may be harmed
}

// Grace is how much longer than a fault is meant to last its TTL is: the
// supervisor takes it back in time, the agent soon after where that does not.
const Grace = 2 * time.Second

// Described is a fault in words.
type Described struct {
	Harm   string `json:"harm"`   // "kill -9 catalog (3f2a…) through the engine, which leaves it down"
	Remedy string `json:"remedy"` // "start catalog and wait until it is healthy"
	Held   string `json:"held"`   // who holds it: "engine" or "kernel" (gone with the agent)

	Warning string `json:"warning,omitempty"` // what people may not expect of it
	Space   string `json:"space,omitempty"`   // what it harms, where that is more than its target: two targets with one are one
}

// Applied answers Apply.
type Applied struct {
	Intent   time.Time       `json:"intent"`  // when the undo was on disk
	Applied  time.Time       `json:"applied"` // when the fault was seen in place
	Findings []fault.Finding `json:"findings,omitempty"`
}

// Update asks to change a fault that is in: Params are the kind's, whole.
type Update struct {
	ID     string          `json:"id"`
	Params json.RawMessage `json:"params"`
}

// Updated answers Update.
type Updated struct {
	Findings []fault.Finding `json:"findings,omitempty"`
}

// Told is a fault's remark for the journal.
type Told struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// Lost says that a fault has stopped acting by itself. What there is of it is
// still to be undone.
type Lost struct {
	ID     string       `json:"id"`
	Kind   string       `json:"kind"`
	Target fault.Target `json:"target"`
	Error  string       `json:"error"`
}

// Undo asks to take back some faults, last first.
type Undo struct {
	IDs    []string `json:"ids"`
	Reason string   `json:"reason"`
}

// UndoAll asks to take back everything and ends the epoch.
type UndoAll struct {
	Reason string `json:"reason"`
}

// Undone answers Undo and UndoAll.
type Undone struct {
	Results []UndoResult `json:"results"`
}

// UndoResult is what became of one fault.
type UndoResult struct {
	ID       string       `json:"id"`
	Kind     string       `json:"kind"`
	Target   fault.Target `json:"target"`
	Reason   string       `json:"reason"` // "undo", "ttl", "eof", "silence", "signal", "abort", …
	Began    time.Time    `json:"began"`
	Ended    time.Time    `json:"ended"`
	Attempts int          `json:"attempts"`
	Error    string       `json:"error,omitempty"` // set: the fault is stuck
	Mend     string       `json:"mend,omitempty"`  // the command that mends it by hand
	Note     string       `json:"note,omitempty"`  // why there was nothing to take back, if so

	Findings []fault.Finding `json:"findings,omitempty"` // that it is gone
}

// Epoch says where the agent's one epoch is: "open", "undoing" or "closed".
type Epoch struct {
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// Fetch is an HTTP request made next to the target. Inside is the target's own
// network namespace over its loopback: no published port is needed, and no
// network fault blinds it.
type Fetch struct {
	Container string            `json:"container"` // id
	Port      int               `json:"port"`
	Path      string            `json:"path"` // with the query, if any
	Method    string            `json:"method,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      []byte            `json:"body,omitempty"`
	Timeout   time.Duration     `json:"timeout"`
	MaxBytes  int64             `json:"max_bytes"` // a longer body is an error
}

// Fetched answers Fetch.
type Fetched struct {
	Status      int           `json:"status"`
	ContentType string        `json:"content_type,omitempty"`
	Body        []byte        `json:"body,omitempty"`
	Took        time.Duration `json:"took"`
}

// Address asks where a target's port can be reached from the supervisor.
type Address struct {
	Container string `json:"container"` // id
	Port      int    `json:"port"`      // inside the container
}

// Addressed answers Address: the port as published on the engine's host, else
// the container's own address; "host:port".
type Addressed struct {
	Address   string `json:"address"`
	Published bool   `json:"published"`
}

// Rollback is a script's rollback, shipped to the ledger whole, so that a fresh
// worker can run it when the first is gone.
type Rollback struct {
	ID      string            `json:"id"` // "r1"
	Module  string            `json:"module"`
	Func    string            `json:"func"`
	Args    json.RawMessage   `json:"args"`
	Sources map[string]string `json:"sources"` // module name → source
	Params  map[string]string `json:"params,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"` // where their values are, as --secret says
	Seed    uint64            `json:"seed"`
}

// Settled says that the journal, the result and the log of a dead run are whole.
type Settled struct {
	Run string `json:"run"`
}

// Rolled says that a script rollback begins, or has run, however it ended.
type Rolled struct {
	ID    string `json:"id"`
	Run   string `json:"run,omitempty"` // of an Abandoned run; empty: this one
	Error string `json:"error,omitempty"`
}

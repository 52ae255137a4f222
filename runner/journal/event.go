// Package journal is what happened in a run, in the order it happened.
//
//	supervisor ──Record──▶ queue ──▶ runs/<run>/journal.jsonl     one event a line
//	                         └─────▶ subscribers (the terminal)
//
//	{"t":"2026-11-24T12:00:17.2Z","at":16.04,"event":"applied","data":{…}}
//
// t is the wall clock; at is seconds since the run began on the monotonic
// clock. Everything a report says is a fold over these events (package report),
// so a run whose supervisor died still has its story up to that moment.
package journal

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

// Event is one line of the journal.
type Event struct {
	T    time.Time `json:"t"`
	At   float64   `json:"at"` // seconds since the run began
	Kind string    `json:"event"`
	Data any       `json:"data"` // one of the structs in Kinds, by value
}

// Kinds are the events there are, by name.
var Kinds = map[string]reflect.Type{
	"begun":     reflect.TypeFor[Begun](),
	"declared":  reflect.TypeFor[spec.Experiment](),
	"recovered": reflect.TypeFor[protocol.Abandoned](),
	"traffic":   reflect.TypeFor[Traffic](),
	"phase":     reflect.TypeFor[Phase](),
	"sample":    reflect.TypeFor[Sample](),
	"source":    reflect.TypeFor[Source](),
	"inject":    reflect.TypeFor[Inject](),
	"applied":   reflect.TypeFor[Applied](),
	"changed":   reflect.TypeFor[Changed](),
	"told":      reflect.TypeFor[Told](),
	"undo":      reflect.TypeFor[Undo](),
	"undone":    reflect.TypeFor[protocol.UndoResult](),
	"observed":  reflect.TypeFor[Observed](),
	"http":      reflect.TypeFor[HTTP](),
	"sql":       reflect.TypeFor[SQL](),
	"promql":    reflect.TypeFor[PromQL](),
	"logs":      reflect.TypeFor[Logs](),
	"invariant": reflect.TypeFor[Invariant](),
	"note":      reflect.TypeFor[Note](),
	"expect":    reflect.TypeFor[Failure](),
	"failure":   reflect.TypeFor[Failure](),
	"stopping":  reflect.TypeFor[Stopping](),
	"abort":     reflect.TypeFor[Abort](),
	"rollback":  reflect.TypeFor[Rollback](),
	"judged":    reflect.TypeFor[Judged](),
	"recovery":  reflect.TypeFor[Recovery](),
	"ended":     reflect.TypeFor[Ended](),
}

// Begun opens every journal.
type Begun struct {
	Run     string            `json:"run"`
	Name    string            `json:"name"`
	Script  string            `json:"script"`
	Args    []string          `json:"args,omitempty"` // the command line
	Seed    uint64            `json:"seed"`
	Set     map[string]string `json:"set,omitempty"`
	Project string            `json:"project,omitempty"`
	Engine  string            `json:"engine"`           // id, version and API version
	Policy  *policy.File      `json:"policy,omitempty"` // the operator's, whole
	Ledger  string            `json:"ledger"`
	Runner  string            `json:"runner"` // version
	Host    string            `json:"host"`
	Rings   []string          `json:"rings"` // of the worker's cage
	PIDs    map[string]int    `json:"pids"`
}

// The phases of a run.
const (
	PhaseBaseline = "baseline" // traffic flows; the objectives must hold
	PhaseMethod   = "method"
	PhaseRecovery = "recovery" // everything is undone; do the objectives hold again?
	PhaseDone     = "done"
)

// Phase says that a phase begins.
type Phase struct {
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
}

// Traffic says where the load goes.
type Traffic struct {
	Name     string  `json:"name"`
	URL      string  `json:"url"`
	Resolved string  `json:"resolved"`
	Arrivals float64 `json:"arrivals"`
	Note     string  `json:"note,omitempty"`
}

// Sample is one evaluation of an abort condition or, outside the method, of an
// objective.
type Sample struct {
	Name     string   `json:"name"`
	Value    *float64 `json:"value"` // nil: no data
	Count    int64    `json:"count,omitempty"`
	Violated bool     `json:"violated,omitempty"`
	Why      string   `json:"why,omitempty"`
}

// Source tells of a source of metrics that went or came back.
type Source struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
	Why  string `json:"why,omitempty"`
}

// Inject says that the script asked for a fault, and what it resolved to.
type Inject struct {
	ID      string         `json:"id"`
	Fault   spec.Fault     `json:"fault"`
	Targets []fault.Target `json:"targets"`
	Harm    []string       `json:"harm"`
	Remedy  []string       `json:"remedy"`
	TTL     time.Duration  `json:"ttl"`
}

// Applied says that a fault is seen in place on one target.
type Applied struct {
	ID      string       `json:"id"` // of the part: "f1", "f1.2"
	Kind    string       `json:"kind"`
	Target  fault.Target `json:"target"`
	Intent  time.Time    `json:"intent"`  // its undo was on disk
	Applied time.Time    `json:"applied"` // it was seen in place

	Findings []fault.Finding `json:"findings,omitempty"` // that it acts
}

// Changed says that a fault that is in was changed on one target.
type Changed struct {
	ID       string          `json:"id"` // of the part
	Kind     string          `json:"kind"`
	Target   fault.Target    `json:"target"`
	Params   json.RawMessage `json:"params"` // all of them, as they are now
	Pos      spec.Pos        `json:"pos,omitempty"`
	Findings []fault.Finding `json:"findings,omitempty"`
}

// Told is a remark of a fault that is in.
type Told struct {
	ID   string `json:"id"` // of the part
	Text string `json:"text"`
}

// Undo says that an undo was ordered.
type Undo struct {
	IDs    []string `json:"ids,omitempty"` // empty: everything
	Reason string   `json:"reason"`
}

// Observed is what observe() returned.
type Observed struct {
	Pos     spec.Pos                   `json:"pos,omitempty"`
	From    time.Time                  `json:"from"`
	To      time.Time                  `json:"to"`
	Figures map[string]protocol.Figure `json:"figures"`
}

// HTTP is a probe by the script.
type HTTP struct {
	Pos     spec.Pos `json:"pos,omitempty"`
	Method  string   `json:"method"`
	URL     string   `json:"url"`
	Status  int      `json:"status"`
	Seconds float64  `json:"seconds"`
	Error   string   `json:"error,omitempty"`
}

// SQL is a look at a database by the script.
type SQL struct {
	Pos       spec.Pos `json:"pos,omitempty"`
	DSN       string   `json:"dsn"` // without its password
	Query     string   `json:"query"`
	Write     bool     `json:"write,omitempty"`
	Rows      int      `json:"rows"`
	Truncated bool     `json:"truncated,omitempty"` // there were more
	Seconds   float64  `json:"seconds"`
	Error     string   `json:"error,omitempty"`
}

// PromQL is a number that the script asked the run's source for.
type PromQL struct {
	Pos   spec.Pos `json:"pos,omitempty"`
	Query string   `json:"query"`
	Value *float64 `json:"value"` // nil: no data
	Why   string   `json:"why,omitempty"`
}

// Logs is a look of the script at what containers have said.
type Logs struct {
	Pos       spec.Pos `json:"pos,omitempty"`
	Targets   []string `json:"targets"`
	Contains  string   `json:"contains,omitempty"`
	Lines     int      `json:"lines"`
	Truncated bool     `json:"truncated,omitempty"` // there were more before
}

// Invariant is what an invariant's function returned.
type Invariant struct {
	Name     string   `json:"name"`
	Value    *float64 `json:"value"` // nil: it could not be told
	Want     string   `json:"want"`  // "= 0"
	Violated bool     `json:"violated,omitempty"`
	Why      string   `json:"why,omitempty"`
	News     bool     `json:"news,omitempty"` // it is not as it was at the last look
}

// Note is a remark of the script, or something it printed.
type Note struct {
	Pos   spec.Pos `json:"pos,omitempty"`
	Text  string   `json:"text"`
	Print bool     `json:"print,omitempty"`
}

// Failure is an error or a false expect, in terms of the script where it has a
// place there.
type Failure struct {
	Where   string     `json:"where"` // "method", "worker", "agent", "journal", …
	Pos     spec.Pos   `json:"pos,omitempty"`
	Message string     `json:"message"`
	Stack   []spec.Pos `json:"stack,omitempty"`
}

// Stopping says what ends the run before its method does.
type Stopping struct {
	Ending string `json:"ending"` // "aborted", "interrupted", "failed"
	Reason string `json:"reason"`
	Signal string `json:"signal,omitempty"`
}

// Abort is an abort condition that fired.
type Abort struct {
	Name    string    `json:"name"`
	Blind   bool      `json:"blind,omitempty"` // no data, rather than bad data
	Value   *float64  `json:"value,omitempty"`
	Count   int64     `json:"count,omitempty"`
	Want    string    `json:"want"`  // "≥ 0.99"
	Since   time.Time `json:"since"` // true in the data from here on
	Seen    time.Time `json:"seen"`  // evaluated as lasting long enough
	Pos     spec.Pos  `json:"pos,omitempty"`
	Why     string    `json:"why,omitempty"`
	Elapsed float64   `json:"elapsed"` // seconds since the first fault was applied
}

// Rollback says how a script's rollback function ended.
type Rollback struct {
	ID    string `json:"id"`
	Func  string `json:"func"`
	Error string `json:"error,omitempty"`
}

// Judged is one objective over one window.
type Judged struct {
	SLO     string    `json:"slo"`
	Window  string    `json:"window"` // a phase's name, or "fault"
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Value   *float64  `json:"value"`
	Count   int64     `json:"count,omitempty"` // requests behind it, where known
	Bad     int64     `json:"bad,omitempty"`
	Low     *float64  `json:"low,omitempty"` // interval of the judged share
	High    *float64  `json:"high,omitempty"`
	Verdict string    `json:"verdict"`
	Note    string    `json:"note,omitempty"`
}

// Recovery says when an objective held again after the last undo.
type Recovery struct {
	SLO     string   `json:"slo"`
	Seconds *float64 `json:"seconds"` // nil: not within the limit
	Limit   float64  `json:"limit"`   // seconds
	Note    string   `json:"note,omitempty"`
}

// Ended closes a journal.
type Ended struct {
	Verdict string   `json:"verdict"`
	Ending  string   `json:"ending"`
	Stuck   []string `json:"stuck,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Exit    int      `json:"exit"`
}

var names = func() map[reflect.Type]string {
	m := make(map[reflect.Type]string, len(Kinds))
	for name, t := range Kinds {
		m[t] = name
	}
	delete(m, reflect.TypeFor[Failure]()) // has two names: see kindOf
	return m
}()

// False is a Failure recorded as a false expect.
type False Failure

func kindOf(data any) (string, any) {
	switch d := data.(type) {
	case Failure:
		return "failure", d
	case False:
		return "expect", Failure(d)
	}
	kind, ok := names[reflect.TypeOf(data)]
	if !ok {
		panic(fmt.Sprintf("journal: %T is no event", data)) // a programmer's slip, found by the first test that records it
	}
	return kind, data
}

// UnmarshalJSON reads one line, its data as the struct of its kind.
func (e *Event) UnmarshalJSON(line []byte) error {
	var raw struct {
		T    time.Time       `json:"t"`
		At   float64         `json:"at"`
		Kind string          `json:"event"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return err
	}
	t, ok := Kinds[raw.Kind]
	if !ok {
		return fmt.Errorf("journal: unknown event %q", raw.Kind)
	}
	data := reflect.New(t)
	if err := json.Unmarshal(raw.Data, data.Interface()); err != nil {
		return fmt.Errorf("journal: %s: %w", raw.Kind, err)
	}
	*e = Event{T: raw.T, At: raw.At, Kind: raw.Kind, Data: data.Elem().Interface()}
	return nil
}

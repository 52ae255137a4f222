// Package report turns a journal into documents. Every function here is pure:
// the same events give the same result, so a report can be made again, and a
// run whose supervisor died still gets one.
//
//	journal.jsonl ──Fold──▶ Result ──▶ result.json
//	                           ├─────▶ Entry   (CHAOS_LOG.md)
//	                           ├─────▶ Summary (one line)
//	each event ──────Line──▶ the terminal
package report

import (
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
)

// The verdicts.
const (
	Held         = "held"
	Broke        = "broke"
	Inconclusive = "inconclusive"
)

// The endings.
const (
	Completed   = "completed"
	Aborted     = "aborted"
	Interrupted = "interrupted"
	Failed      = "failed"
	Refused     = "refused"
)

// Result is what a run came to.
type Result struct {
	Run         string            `json:"run"`
	Name        string            `json:"name"`
	Script      string            `json:"script"`
	Hypothesis  string            `json:"hypothesis"`
	Verdict     string            `json:"verdict"`
	Ending      string            `json:"ending"`
	Stuck       []string          `json:"stuck"` // what could not be put back; normally empty
	Reason      string            `json:"reason,omitempty"`
	Exit        int               `json:"exit"`
	Started     time.Time         `json:"started"`
	Ended       time.Time         `json:"ended"`
	Seconds     float64           `json:"seconds"`
	Seed        uint64            `json:"seed"`
	Set         map[string]string `json:"set,omitempty"`
	Params      []spec.Param      `json:"params,omitempty"`
	Engine      string            `json:"engine,omitempty"`
	Rings       []string          `json:"rings,omitempty"`
	BlastRadius spec.BlastRadius  `json:"blast_radius"`
	Faults      []Fault           `json:"faults"`
	SLOs        []SLO             `json:"slos"`
	Abort       *Abort            `json:"abort,omitempty"`
	Failures    []string          `json:"failures,omitempty"`
	Timeline    []Moment          `json:"timeline"`

	signal string // what interrupted it
}

// Fault is one fault on one target.
type Fault struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Target  string    `json:"target"` // the container's name
	Service string    `json:"service,omitempty"`
	Pos     spec.Pos  `json:"pos,omitempty"`
	Harm    string    `json:"harm,omitempty"`
	Intent  time.Time `json:"intent"`          // its undo was on disk
	Applied time.Time `json:"applied"`         // it was seen in place
	Undone  time.Time `json:"undone,omitzero"` // it was seen taken back
	Held    float64   `json:"held_seconds"`    // from applied to undone
	Undo    float64   `json:"undo_seconds"`    // from the undo's begin to its end
	Reason  string    `json:"undo_reason,omitempty"`
	Error   string    `json:"error,omitempty"` // why it is stuck
	Mend    string    `json:"mend,omitempty"`  // the command that mends it

	Findings []fault.Finding `json:"findings,omitempty"` // measured: that it acted, and that it was gone
}

// SLO is one objective before, during and after the fault.
type SLO struct {
	Name      string   `json:"name"`
	Objective string   `json:"objective"` // "≥ 0.99"
	Before    *Figure  `json:"before"`
	During    *Figure  `json:"during"`
	After     *Figure  `json:"after"`
	Recovered *float64 `json:"recovered_seconds"` // after the last undo; nil: not, or not asked
	Limit     float64  `json:"recovers_within_seconds"`
	Late      bool     `json:"late,omitempty"` // it did not recover within the limit
}

// Figure is an SLI over one window.
type Figure struct {
	Value   *float64  `json:"value"`
	Count   int64     `json:"count,omitempty"`
	Bad     int64     `json:"bad,omitempty"`
	Low     *float64  `json:"low,omitempty"`
	High    *float64  `json:"high,omitempty"`
	Verdict string    `json:"verdict,omitempty"`
	Note    string    `json:"note,omitempty"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
}

// Abort is the abort condition that ended the run, and how long each step took.
type Abort struct {
	Name    string   `json:"name"`
	Blind   bool     `json:"blind,omitempty"`
	Value   *float64 `json:"value,omitempty"`
	Want    string   `json:"want"`
	After   float64  `json:"after_seconds"`   // from the first fault
	Seen    float64  `json:"seen_seconds"`    // from true in the data to seen lasting
	Ordered float64  `json:"ordered_seconds"` // from seen to the undo ordered
	Undone  float64  `json:"undone_seconds"`  // from ordered to everything undone
	Why     string   `json:"why,omitempty"`
}

// Moment is one line of the story.
type Moment struct {
	At   float64 `json:"at"` // seconds since the run began
	Text string  `json:"text"`
}

// Code is the exit code: the first of these that applies.
func (r Result) Code() int {
	switch {
	case len(r.Stuck) > 0:
		return 6
	case r.Ending == Interrupted:
		if r.signal == "SIGTERM" || r.signal == "SIGHUP" {
			return 143
		}
		return 130
	case r.Ending == Failed:
		return 5
	case r.Ending == Refused:
		return 64
	case r.Ending == Aborted:
		return 3
	case r.Verdict == Broke:
		return 1
	case r.Verdict == Inconclusive:
		return 4
	}
	return 0
}

// Expect is the exit code where a verdict was asked for (--expect): 0 for
// that verdict, however it was reached, as long as nothing went wrong with the
// run itself; 1 for another.
func (r Result) Expect(want string) int {
	code := r.Code()
	switch {
	case want == "":
		return code
	case code == 6 || code == 130 || code == 143 || code == 5 || code == 64:
		return code
	case r.Verdict == want:
		return 0
	}
	return 1
}

// Worst is the exit code of several runs: the one that stands first in the
// order of Code.
func Worst(codes []int) int {
	for _, c := range []int{6, 130, 143, 5, 64, 3, 1, 4} {
		for _, got := range codes {
			if got == c {
				return c
			}
		}
	}
	return 0
}

// Package spec is what an experiment declares, as plain data.
//
//	exp1.star ──load──▶ spec.Experiment ──JSON──▶ supervisor (gate, watcher, verdict, report)
//
// The worker builds an Experiment while it loads and rehearses a script; the
// supervisor never sees Starlark, only this. Nothing here does anything.
package spec

import (
	"encoding/json"
	"time"
)

// Pos is a place in a script, as "exp1.star:12:5". Empty when unknown.
type Pos string

// Experiment is everything a script declared, and the steps its rehearsal took.
type Experiment struct {
	Name        string      `json:"name"`          // the file's base name without .star
	Doc         string      `json:"doc,omitempty"` // the module docstring
	Hypothesis  string      `json:"hypothesis"`
	BlastRadius BlastRadius `json:"blast_radius"`
	SteadyState SteadyState `json:"steady_state"`
	Params      []Param     `json:"params,omitempty"`
	Secrets     []Secret    `json:"secrets,omitempty"`
	Metrics     *Metrics    `json:"metrics,omitempty"`
	Prometheus  *Prometheus `json:"prometheus,omitempty"`
	Traffic     []Traffic   `json:"traffic,omitempty"`
	Probes      []Probe     `json:"probes,omitempty"`
	SLOs        []SLO       `json:"slos"`
	Aborts      []Abort     `json:"aborts"`
	Invariants  []Invariant `json:"invariants,omitempty"`
	Steps       []Step      `json:"steps"` // what the rehearsal of method() would do, in order
}

// BlastRadius bounds what may be harmed.
type BlastRadius struct {
	Targets  []string      `json:"targets"`           // target expressions; nothing else may be touched
	Duration time.Duration `json:"duration"`          // cap from the first apply to the last undo
	AtMost   int           `json:"at_most,omitempty"` // containers harmed at once; 0 is no limit but the targets
	Traffic  float64       `json:"traffic"`           // share of traffic a fault may touch, in (0, 1]
	Pos      Pos           `json:"pos"`
}

// SteadyState says how long the objectives must hold before the method.
type SteadyState struct {
	Baseline time.Duration `json:"baseline"` // how long they must hold
	Within   time.Duration `json:"within"`   // how long to wait for that
	Pos      Pos           `json:"pos,omitempty"`
}

// Param is a typed value that --set changes.
type Param struct {
	Name    string `json:"name"`
	Doc     string `json:"doc,omitempty"`
	Default string `json:"default"` // as Starlark prints it
	Value   string `json:"value"`   // as Starlark prints it
	Pos     Pos    `json:"pos"`
}

// Secret is a value that only the supervisor knows. Where it is to be sent, its
// mark stands (package notation).
type Secret struct {
	Name string `json:"name"`
	Pos  Pos    `json:"pos"`
}

// Metrics declares the default source: exposition endpoints scraped into memory.
type Metrics struct {
	Scrape   []string      `json:"scrape"`   // "api:8080/metrics" (a target's port) or a URL
	Interval time.Duration `json:"interval"` // between scrapes
	Timeout  time.Duration `json:"timeout"`  // of one scrape; apart from the interval
	Pos      Pos           `json:"pos"`
}

// Prometheus declares a Prometheus server as the source instead.
type Prometheus struct {
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers,omitempty"`
	Interval time.Duration     `json:"interval"`
	Timeout  time.Duration     `json:"timeout"`
	Pos      Pos               `json:"pos"`
}

// Traffic declares constant-arrival-rate HTTP load.
type Traffic struct {
	Name     string            `json:"name"`     // unique; "traffic", "traffic2" when not given
	URL      string            `json:"url"`      // http://host:port/… or http://TARGET:port/…
	Arrivals float64           `json:"arrivals"` // requests a second
	Method   string            `json:"method"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     string            `json:"body,omitempty"`
	Expect   []int             `json:"expect,omitempty"` // statuses that are a success; empty: 200..399
	Timeout  time.Duration     `json:"timeout"`
	Pos      Pos               `json:"pos"`
}

// Probe declares a request repeated as an SLI.
type Probe struct {
	Name    string        `json:"name"`
	URL     string        `json:"url"`
	Expect  []int         `json:"expect,omitempty"` // empty: 200..399
	Every   time.Duration `json:"every"`
	Timeout time.Duration `json:"timeout"`
	Pos     Pos           `json:"pos"`
}

// The kinds of SLI.
const (
	KindRatio          = "ratio"           // Good / Total, two counter selectors; counts are known
	KindQuantile       = "quantile"        // Q of Histogram, a selector of _bucket series
	KindPromQL         = "promql"          // Query; "[$window]" stands for the runner's window
	KindTrafficSuccess = "traffic_success" // share of Of's requests that succeeded
	KindTrafficLatency = "traffic_latency" // Q of Of's latencies, in seconds
	KindProbeSuccess   = "probe_success"
	KindProbeLatency   = "probe_latency"
)

// SLI is a number that can be asked for over a window.
type SLI struct {
	Kind      string  `json:"kind"`
	Good      string  `json:"good,omitempty"`
	Total     string  `json:"total,omitempty"`
	Histogram string  `json:"histogram,omitempty"`
	Q         float64 `json:"q,omitempty"` // in (0, 1)
	Query     string  `json:"query,omitempty"`
	Share     bool    `json:"share,omitempty"` // its objective is in per cent, so a query's values must lie in 0..1
	Of        string  `json:"of,omitempty"`    // the name of the traffic or the probe
}

// When an objective is judged.
const (
	Always = "always" // before, during and after the fault
	Edges  = "edges"  // before and after only
)

// SLO is an objective on an SLI. Exactly one of Min and Max is set.
type SLO struct {
	Name           string        `json:"name"`
	SLI            SLI           `json:"sli"`
	Min            *float64      `json:"min,omitempty"`
	Max            *float64      `json:"max,omitempty"`
	When           string        `json:"when"`
	RecoversWithin time.Duration `json:"recovers_within"`
	Pos            Pos           `json:"pos"`
}

// Abort is a condition that ends the run. Exactly one of Below and Above is set.
type Abort struct {
	Name    string        `json:"name"` // the SLO's name, or one made from the SLI
	SLO     string        `json:"slo,omitempty"`
	SLI     SLI           `json:"sli"`
	Below   *float64      `json:"below,omitempty"`
	Above   *float64      `json:"above,omitempty"`
	Lasting time.Duration `json:"lasting"`
	Pos     Pos           `json:"pos"`
}

// Func is a function of a script, as another process finds it.
type Func struct {
	Module string `json:"module"`
	Name   string `json:"name"`
}

// Invariant is a number that must stay as it is. At least one of Min and Max is
// set.
type Invariant struct {
	Name   string        `json:"name"`
	Func   Func          `json:"func"`   // returns the number
	Before Func          `json:"before"` // its value at the baseline is Func's argument; without a name there is none
	Min    *float64      `json:"min,omitempty"`
	Max    *float64      `json:"max,omitempty"`
	Within time.Duration `json:"within"`
	Pos    Pos           `json:"pos"`
}

// Step is one thing the rehearsal saw method() do.
type Step struct {
	Op       string          `json:"op"`                  // "fault", "update", "observe", "http", "rollback", "undo", "pick"
	Pos      Pos             `json:"pos"`                 // where
	Fault    *Fault          `json:"fault,omitempty"`     // for "fault"
	Update   *Fault          `json:"update,omitempty"`    // for "update": the fault as it is from here on
	Duration time.Duration   `json:"duration,omitempty"`  // for "observe"
	Detail   string          `json:"detail,omitempty"`    // for people
	Branches bool            `json:"branches,omitempty"`  // that this is done at all depends on a probe
	BranchAt Pos             `json:"branch_at,omitempty"` // the condition that it depends on
	Args     json.RawMessage `json:"args,omitempty"`      // for "rollback"
}

// Fault is a fault as a script asks for it: targets are still expressions.
// Params is the kind's own JSON object; builtins/fault gives it meaning.
type Fault struct {
	Kind     string          `json:"kind"`               // "kill", "pause", …
	Targets  []string        `json:"targets"`            // target expressions
	Params   json.RawMessage `json:"params,omitempty"`   // as builtins/fault's kind understands
	Duration time.Duration   `json:"duration,omitempty"` // 0: until method() ends or .undo()
	Pos      Pos             `json:"pos"`
}

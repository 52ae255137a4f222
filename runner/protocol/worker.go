package protocol

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/spec"
)

// The calls of a supervisor to its worker.
const (
	CallLoad   = "load"   // Load → Loaded: load and rehearse
	CallMethod = "method" // nothing → Ended: run method()
	CallRoll   = "roll"   // Roll → Ended: run one rollback function, on a fresh thread
)

// The calls of a worker to its supervisor.
const (
	CallSource   = "source"   // Source → Sourced
	CallTargets  = "targets"  // Resolve → Resolved: for pick(), in plan and run
	CallFault    = "fault"    // spec.Fault → Handle
	CallRelease  = "release"  // Release → nothing: a handle's .undo()
	CallChange   = "change"   // Change → nothing: a handle's .update()
	CallObserve  = "observe"  // Observe → Figures
	CallHTTP     = "http"     // HTTP → HTTPReply
	CallNote     = "note"     // Note → nothing
	CallRegister = "rollback" // Rollback → nothing: registered before it is needed
)

// How far a worker may go.
const (
	CheckOnly = "check" // no engine: pick() and probes are stand-ins
	PlanOnly  = "plan"  // targets are resolved
	FullRun   = "run"
	RollOnly  = "roll" // a fresh worker that runs rollbacks: Script is any module, nothing is checked or rehearsed
)

// Load asks a worker to load a script and rehearse its method.
type Load struct {
	Script string            `json:"script"` // the display name, "exp1.star"
	Mode   string            `json:"mode"`
	Params map[string]string `json:"params,omitempty"` // --set NAME=VALUE
	Seed   uint64            `json:"seed"`
	Steps  uint64            `json:"steps"` // limit of the interpreter
}

// Loaded is the experiment, or every error that was found in it.
type Loaded struct {
	Experiment *spec.Experiment `json:"experiment,omitempty"`
	Errors     []ScriptError    `json:"errors,omitempty"`
	Rings      []string         `json:"rings,omitempty"` // of the cage, that are active
}

// ScriptError is an error in terms of the script.
type ScriptError struct {
	Pos     spec.Pos   `json:"pos,omitempty"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
	Stack   []spec.Pos `json:"stack,omitempty"` // callers, innermost first, without Pos
}

func (e ScriptError) Error() string {
	s := e.Message
	if e.Pos != "" {
		s = string(e.Pos) + ": " + s
	}
	for _, at := range e.Stack {
		s += "\n  called from " + string(at)
	}
	if e.Hint != "" {
		s += "\n  hint: " + e.Hint
	}
	return s
}

// Ended says how a function of the script ended.
type Ended struct {
	Expect *ScriptError `json:"expect,omitempty"` // a false expect()
	Error  *ScriptError `json:"error,omitempty"`  // anything else that stopped it
}

// Source asks for the source of a module, as load() names it.
type Source struct {
	Path string `json:"path"` // "//lib.star", "x.star", "@name//x.star"; "" is the script itself
	From string `json:"from"` // the Module that loads it; "" for the script itself
}

// ModuleName is the module that a path names when from loads it, if no link of
// the file system says otherwise. It refuses what leaves the root.
func ModuleName(name, from string) (string, error) {
	root, rest := "//", strings.TrimPrefix(name, "//")
	switch {
	case strings.HasPrefix(name, "//"):
	case strings.HasPrefix(name, "@"):
		lib, inside, ok := strings.Cut(name, "//")
		if !ok {
			return "", fmt.Errorf("got %q, want \"@name//x.star\"", name)
		}
		root, rest = lib+"//", inside
	case strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("got the absolute path %q, want \"//x.star\" from the workspace root or \"x.star\" beside the loading file", name)
	default:
		lib, file, ok := strings.Cut(from, "//")
		if !ok {
			return "", fmt.Errorf("got %q, loaded by %q, want a path from a known file", name, from)
		}
		root, rest = lib+"//", path.Dir(file)+"/"+name
	}
	clean := path.Clean(rest)
	if rest == "" || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || strings.HasPrefix(clean, "/") {
		return "", fmt.Errorf("got %q, which leads out of %s", name, root)
	}
	return root + clean, nil
}

// Sourced is the source of a module.
type Sourced struct {
	Module string `json:"module"` // unique: modules with one name are loaded once
	Name   string `json:"name"`   // for positions: "lib.star"
	Source string `json:"source"`
}

// Handle names an injected fault.
type Handle struct {
	ID      string         `json:"id"`
	Targets []fault.Target `json:"targets"`

	Findings []fault.Finding `json:"findings,omitempty"` // of all its parts
}

// Release ends a fault early.
type Release struct {
	ID  string   `json:"id"`
	Pos spec.Pos `json:"pos,omitempty"`
}

// Change changes a fault that is in: Params are the kind's, whole.
type Change struct {
	ID     string          `json:"id"`
	Params json.RawMessage `json:"params"`
	Pos    spec.Pos        `json:"pos,omitempty"`
}

// Observe lets time pass under the watcher.
type Observe struct {
	Duration time.Duration `json:"duration"`
	Pos      spec.Pos      `json:"pos,omitempty"`
}

// Figures are the SLIs of the objectives over a window, by the SLO's name.
type Figures struct {
	Values map[string]Figure `json:"values"`
}

// Figure is one number. Value is nil where there is no data.
type Figure struct {
	Value *float64 `json:"value"`
	Count int64    `json:"count"` // requests or samples behind it
}

// HTTP is a probe by the script.
type HTTP struct {
	URL     string            `json:"url"`
	Method  string            `json:"method,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Timeout time.Duration     `json:"timeout"`
	Pos     spec.Pos          `json:"pos,omitempty"`
}

// HTTPReply answers HTTP. A request that got no answer has Error and status 0.
type HTTPReply struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Seconds float64           `json:"seconds"`
	Error   string            `json:"error,omitempty"`
}

// Note is a remark of the script, or what it print()s.
type Note struct {
	Text  string   `json:"text"`
	Print bool     `json:"print,omitempty"`
	Pos   spec.Pos `json:"pos,omitempty"`
}

// Roll asks a worker to run one rollback function.
type Roll struct {
	ID     string          `json:"id"`
	Module string          `json:"module"`
	Func   string          `json:"func"`
	Args   json.RawMessage `json:"args"`
}

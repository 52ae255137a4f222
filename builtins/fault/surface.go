package fault

import (
	"context"
	"encoding/json"
)

// What a kind of fault may be beside a Fault. The agent asks by type.

// A Witness measures that it acts once it is applied, and that it is gone once
// it is undone. A measurement that says otherwise is an error of Apply or Undo.
type Witness interface {
	// Findings are those made since they were last asked for.
	Findings() []Finding
}

// A Finding is one measurement, for the journal and the report.
type Finding struct {
	Text    string             `json:"text"` // "round trip to 172.18.0.3: 402 ms, 0.2 ms before"
	Figures map[string]float64 `json:"figures,omitempty"`
	// Failed: the fault has not done what the run says of it. The run fails.
	Failed bool `json:"failed,omitempty"`
}

// A Fragile fault may stop acting by itself, as what the kernel holds for us can.
// The run then ends as failed: it has not tested what it says.
type Fragile interface {
	// Lost yields why it has stopped. It is asked for once, after Apply, and
	// closed by Undo.
	Lost() <-chan error
}

// An Updater can be changed while it acts.
type Updater interface {
	// Update takes the kind's whole parameters, and refuses with ErrRefused,
	// changing nothing, where it cannot go from the present ones to these.
	Update(ctx context.Context, w World, params json.RawMessage) error
}

// A Wide fault harms more than the container it is meant for: whatever lives in
// its network namespace.
type Wide interface {
	// Beside names the other containers that it harms, once Prepare has looked.
	Beside() []string
	// Space is what it harms, as a target of the host.
	Space() Target
}

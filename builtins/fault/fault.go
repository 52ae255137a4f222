// Package fault is harm and its remedy, as data.
//
// A fault is a value that can be written to disk whole. It has two verbs that
// change the world, Apply and Undo, and one that only looks, Prepare. The
// agent calls them in this order, with its ledger in between:
//
//	Prepare (look, refuse) ─▶ ledger: the fault as JSON, fsynced ─▶ Apply (harm, verify)
//	                                          └────────── any ending ──────────▶ Undo
//
// Undo works from the JSON alone, in another process, after a reboot; it is
// idempotent, touches only what Apply put there, and takes a half-applied
// or never-applied fault like any other.
package fault

// A Target is one generation of one container. Undo for one generation never
// touches its successor.
type Target struct {
	Name      string `json:"name"`              // the container's, without "/"
	Service   string `json:"service,omitempty"` // Compose's, if it has one
	Index     int    `json:"index,omitempty"`   // the replica's number in its service, from 1
	Project   string `json:"project,omitempty"` // Compose's
	ID        string `json:"id"`                // 64 hex digits
	StartedAt string `json:"started_at"`        // as the engine says it
	PID       int    `json:"pid,omitempty"`     // of its init process on the engine's host; 0: not running
	Allowed   bool   `json:"allowed"`           // carries chaos.allow=true, or --allow names it
}

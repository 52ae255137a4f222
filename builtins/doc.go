// Package builtins is the language of experiments.
//
//	exp1.star ──load──▶ declarations ──▶ spec.Experiment ──▶ supervisor
//	              │
//	              └─ method() ─┬─ rehearsed: rehearsal (time skips, nothing is touched)
//	                           └─ run:       the World behind the link to the supervisor
//
// A Session holds one script. It loads it, rehearses its method, runs it and
// runs its rollback functions, each on a fresh thread with a budget of its own.
// What a builtin does to the world goes through the interface World, so that
// a rehearsal is the same code with another World.
//
// To add a builtin: one file with its function, one row in Table, one file
// testdata/NAME.star. The row's signature is what unpacks its arguments; the
// reference and the editor's stub are printed from the same row.
package builtins

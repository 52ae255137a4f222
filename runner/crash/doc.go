// Package crash is the sweep that shows promise 3: whatever of a run dies,
// stops or starves, at whatever step, its faults come back out.
//
//	one trial                                                         looks at
//	─────────                                                         ────────
//	two containers, a state folder and a script of their own          the engine: "before"
//	     │
//	bin/runner exp.star ──meets us at the step (RUNNER_FAILPOINT), or at a random instant
//	     │
//	kill, stop or starve ──▶ supervisor, agent, worker: one, two or all
//	     │
//	     ├─ supervisor or agent lives and runs ─▶ it is waited for    engine: as before, at once when it says so
//	     └─ neither does ─▶ recover, the next run, stop, or SIGCONT   engine: as before when that returns
//	     │
//	SIGCONT to whatever is stopped, until no process is left          engine: nothing is harmed again, nor restarted
//	     │
//	runner recover                                                    no ledger, one log entry, rollbacks have run once
//
// The sweep is a test: `go test ./runner/crash` runs a modest number of trials
// that meets every step once; CRASH_TRIALS=10000 any number. It prints a table.
// What a trial does follows from CRASH_SEED and its number alone, and a failure
// prints how to run that one again.
//
// The worker's cage lets nothing of the environment in and no socket out, so a
// worker is met where it waits for its supervisor, which is all it can do
// besides computing; random instants fall into that.
package crash

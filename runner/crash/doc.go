// Package crash is the sweep that shows promise 3: whatever of a run dies,
// stops or starves, at whatever step, its faults come back out.
//
//	one trial                                                         looks at
//	─────────                                                         ────────
//	two containers, a state folder, a script; agents as children      the engine and, in each
//	or in containers                                                  target, all looks: "before"
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
// The sweep is a test of a few hundred trials; CRASH_TRIALS says how many else
// (make crash N=10000), CRASH_TRIAL runs one alone. It prints a table. What a
// trial does follows from CRASH_SEED and its number alone, and a failure prints
// how to run that one again.
//
// A kind of fault is a row in faults_test.go; what it harms is seen by a look in
// looks_test.go. No trial fails because the machine is slow: what is waited for
// has minutes, and a moment that was missed is tried again.
//
// The worker's cage lets nothing of the environment in and no socket out, so a
// worker is met where it waits for its supervisor, which is all it can do
// besides computing; random instants fall into that.
package crash

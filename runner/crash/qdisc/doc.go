// Package qdisc is the crash sweep over faults that a kernel holds for good:
// what the engine qdisc has put in stays when its holder dies.
//
//	one trial, in User-Mode Linux
//	─────────
//	runner exp.star ── stands at the step (RUNNER_FAILPOINT) ──▶ SIGKILL: agent, supervisor, or all
//	     │
//	     ├─ somebody lives ─▶ it is waited for                 the namespace: as before
//	     └─ nobody does ─▶ runner recover, or the next run     the namespace: as before
//
// It is the real runner with the real agent and ledger. There is no Docker in
// that kernel: the targets are network namespaces, netns:NAME. Its tests have
// the build tag netem and are run by builtins/fault/netem/uml; UML_TRIALS says
// how many trials, UML_SEED which.
package qdisc

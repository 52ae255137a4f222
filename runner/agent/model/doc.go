// Package model explores the protocol between supervisor, agents, ledger and world:
// every interleaving of their steps with whatever may happen to them.
//
//	                        steps                                the foe, between any two of them
//	                        ─────                                ────────────────────────────────
//	supervisor   greeted ─▶ method ─▶ ordered ─▶ after ─▶ closing     SIGKILL, SIGSTOP and SIGCONT, a hang
//	                 └──────────┴─ replacing ─┘ (its agent is lost)    of any process, alone or together
//	agent        latch ─ undo each ─ closed ─ released ─ end           power cut: what was not synced is lost
//	  a fault    admitted ─ written ─ durable ─ harming ─ seen ─ over  a full disk
//	  its undo                     begun ─ back ─ out                  a successor of the container, that
//	heir, recover, next run, stop  flock ─ undo each ─ settle ─ keep   somebody else has harmed
//	engine       what it was asked for lands, or does not, whoever lives
//	               │                                              a later start, at any time, or two
//	               ▼
//	   each state ─▶ promises_test.go: what must hold in it, and what must where nobody has a step left
//
// A state is a value, a step is a condition on it and what it changes; explore
// visits every state that can be reached, and a broken promise comes with the
// shortest way to it. That no process can go round in a circle is checked too, so
// that "left alone, it ends" needs no clock.
//
// What the real code does to keep its promises is a guard here (guards_test.go),
// and each can be switched off. TestGuards does, one after the other: a guard
// without which nothing breaks would mean that the model is blind there, or that
// the code has one too many. Two have others behind them, and say so.
//
// The model stays with the code by two tests. TestFailpoints: steps and the code's
// failpoints, at which the crash sweep strikes, are the same. TestRealAgent: a real
// agent with a real container is met at each of them, and its way must be one of
// the model's, which allows none that leaves one of them out.
//
// What is assumed of the world, and is in no test:
//
//   - A flock falls with its holder, and a file that was fsynced is there after
//     a power cut.
//   - What was asked of the engine by somebody who has died lands within the time
//     that an undo waits for it, or never.
//   - Between a fault's last look at its container and the engine's act nobody
//     else restarts that. The engine's API knows no generations.
//   - Whoever has leave to run a script's rollback runs it at once: should its
//     keeper die at that moment, another start may run it beside him.
//   - A process that was not struck gets time: three seconds of silence are death.
//   - The foe strikes at most three times (a power cut strikes all at once), and
//     spares the last of the heirs that a supervisor starts.
//   - A run has the engine for itself; those that share one are not modelled.
package model

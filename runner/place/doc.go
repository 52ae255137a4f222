// Package place starts agents where they can reach the world.
//
//	--agent local                        --agent container
//
//	supervisor ──pipes──▶ agent          supervisor ──hijacked connection──▶ engine ──pipes──▶ agent
//	     (child, own session)                                                  │ image: this very binary, imported
//	     ledger: /var/lib/runner                                               │ ledger: volume runner-ledger
//	                                                                           │ socket: the engine's, mounted
//
// A child is the fast path, and right for a terminal. A CI job, a log-out or a
// service manager kills every process of a job or session at once, and so
// supervisor and agent both; a container is the engine's, not the session's,
// and survives that: its stdin comes to an end, and it undoes everything.
//
// What a container agent may do is in the table [rights]: the least that lets
// every fault of ours and the fetch from inside a target work. Whoever may talk
// to the engine's socket could have more, so that this guards against our own
// mistakes, not against an intruder.
package place

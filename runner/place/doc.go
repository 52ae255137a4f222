// Package place starts agents where they can reach the world.
//
//	--agent local                        --agent container
//
//	supervisor ──pipes──▶ agent          supervisor ──hijacked connection──▶ engine ──pipes──▶ agent
//	     (child, own session)                                                  │ image: this very binary, imported
//	     ledger: /var/lib/runner                                               │ ledger: /var/lib/runner of the engine's host
//	                                                                           │ socket: the engine's, mounted
//
// A child is the fast path, and right for a terminal. A CI job, a log-out or a
// service manager kills every process of a job or session at once, and so
// supervisor and agent both; a container is the engine's, not the session's,
// and survives that: its stdin comes to an end, and it undoes everything.
//
// Both keep their ledgers and locks in the same folder of the engine's host, so
// that they exclude each other, and each sees, stops and recovers what the other
// has left. Where that folder is not to be had, for a rootless engine or that of
// a desktop, containers have a volume of their own.
//
// What a container agent may do is in the table [rights]: the least that lets
// every fault of ours and the fetch from inside a target work. Whoever may talk
// to the engine's socket could have more, so that this guards against our own
// mistakes, not against an intruder.
package place

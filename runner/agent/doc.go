// Package agent is the only process that touches the world, and the one that
// puts it back.
//
//	supervisor                      agent                                       engine, kernel
//	    │ apply ───────────────────▶ │ look, refuse
//	    │                            │ intent ─▶ ledger, fsynced                    ← the remedy is on disk
//	    │                            │ apply ─────────────────────────────────────▶ harm
//	    │ ◀───────────────── applied │ seen in place
//	    │
//	    ├── undo_all, close ───────▶ │
//	    ├── dies: EOF ─────────────▶ │ one epoch:  open ─▶ undoing ─▶ closed
//	    ├── hangs: silence, 3 s ···▶ │              every later apply is refused
//	    ├── talks nonsense ────────▶ │
//	    │        TERM, INT, HUP ───▶ │ undo each, last first per container ───────▶ as it was
//	    │        a fault's TTL ····▶ │ undo that one
//	    │                            │ ledger: undone, closed; removed by close
//	    │                            ╳ SIGKILL, power cut, out of memory
//	    │                                the flock on the ledger falls: that, and nothing else, means dead
//	    ▼
//	next run, recover or stop        │ takes each dead ledger's flock, undoes it ─▶ as it was
//	                                 │ the run's end is written: the ledger is removed
//
// Somebody is left who notices, whoever is struck:
//
//	struck                     noticed by, and how                      its faults
//	supervisor dies            agent: end of file                       undone at once
//	supervisor stops or hangs  agent: silence of 3 s; a fault's TTL     undone then; when it wakes it finds the epoch closed
//	agent dies or stops        supervisor: no answer to a beat for 1 s  the kernel's go with its SIGKILL, the rest an heir
//	                                                                    undoes from the ledger, under its flock
//	both die, a power cut      next run, recover, stop: a free flock    the kernel's at once, the rest then
//	both stop                  stop, which kills by pidfd; or the       then
//	                           first of the two that wakes
//
// Why the promise holds:
//
//   - The remedy is durable before the harm, with disk space for all that will
//     be said of it. If that cannot be had, nothing is injected.
//   - An undo works from the ledger alone, and is idempotent: to run it once
//     too often is no harm, so no record but the intent has to be certain.
//   - There is one way out. Whatever ends the epoch first latches it, cancels the
//     apply in flight, waits for its end, and only then undoes it: an apply
//     never lands after its undo. What the engine may still do on behalf of an
//     agent that died is waited for.
//   - A supervisor that wakes after the epoch has ended finds it closed: it can
//     never inject again.
//   - No step of an undo waits for a reader of its output, for a slow disk, or
//     for another fault's undo. Each has a deadline of its own, which begins
//     when the engine takes its call, and a panic in one keeps no other in.
//   - Undo for one generation of a container never touches its successor.
//   - A script's rollback is on disk before the script goes on, its begin before
//     it runs, and its end before it counts as run.
//   - One run at a time has an engine, and waits for whoever is still undoing what
//     another has left; those that share it have one container
//     each at a time, from the admission of a fault to the end of its undo, and
//     get none on which a run that died still has a fault.
//
// Package model explores every interleaving of this with deaths, stops, hangs and
// power cuts, and what each of these is needed for; package crash does it to the
// real processes.
//
// Its honest limits:
//
//   - A supervisor and an agent that are stopped together keep their faults in for
//     as long as both are: nobody is left to notice. So does an agent that hangs
//     whole, when its supervisor has died. runner stop ends both.
//   - After the death of supervisor and agent both, what the engine holds (a
//     killed, stopped or paused container) stays until the next run, recover or
//     stop. What the kernel holds goes at once.
//   - An engine that is away for longer than an undo's deadline (30 s, more where
//     a health check is slow) leaves its faults stuck: they are reported with
//     the command that mends them, and stay in the ledger for recover.
//   - The engine's API knows no generations: between our last look and its act
//     a container may be restarted by somebody else, and is then harmed in its
//     next generation. Signals are free of that: they go to a pidfd.
//   - Between an agent's death right after its intent and the engine's act lies
//     a time that can only be bounded, not seen: an undo waits it out (2 s; the
//     grace of a stop and 2 s more).
//   - Of a script's rollback only begin and end are seen. One that had begun when
//     its run died is run again; one whose supervisor has leave for it, and loses
//     its agent at that moment, may run beside the same one of a recover.
//   - A ledger is as durable as its file system's fsync; a bit that flips in an
//     intent loses that remedy, and is told. State in a tmpfs does not outlive
//     a reboot.
//   - Runs that share an engine but not a state folder do not see each other.
//   - Whoever is root can kill, stop or delete all of this.
package agent

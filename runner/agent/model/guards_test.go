package model

// A guard is something the real code does to keep its promises.
type guard struct {
	name  string
	where string   // that does it: folder under runner, type or nothing, function
	in    scenario // where its loss must show
	spare []string // guards that stand behind it, and must be lost too
}

var guards = []guard{
	{"latch", "agent agent.admit", aFault, nil},
	{"wait for the apply", "agent mender.takeBack", aFault, nil},
	{"look again", "../builtins/fault subject.grip", aSuccessor, nil},
	{"generation", "../builtins/fault subject.revive", aSuccessor, nil},
	{"landing", "agent newCharge", aFault, nil},

	{"intent first", "agent agent.apply", aFault, nil},
	{"fsync of an intent", "agent/ledger Ledger.Intent", aPowerCut, nil},
	{"fsync's error", "agent/ledger Ledger.durable", aFullDisk, nil},
	{"undone after the undo", "agent mender.takeBack", aFault, nil},
	{"flock", "agent/ledger Open", recovers, nil},
	{"flock before the name", "agent/ledger Create", fromTheHello, nil},
	{"lock", "agent/ledger TakeLock", theNextRun, nil},
	{"lock until undone", "agent agent.undoAll", theNextRun, nil},
	{"wait for the undo of others", "agent agent.recover", theNextRun, nil},

	{"end of file", "agent agent.serve", aFault, []string{"silence", "ttl"}},
	{"silence", "agent heart.arm", stops, []string{"ttl"}},
	{"ttl", "agent agent.expire", hangs, nil},
	{"answer", "supervise watcher.heart", aFault, nil},
	{"kill first", "supervise run.secondAgent", stops, nil},
	{"undo only", "agent agent.admit", aFault, nil},

	{"close keeps what is left", "agent agent.close", theEngineAway, nil},
	{"recover keeps what is stuck", "agent agent.settle", theEngineAway, nil},
	{"another agent", "supervise Recover", recovers, nil},
	{"fsync of a rollback", "agent agent.keep", aRollbackAndPowerCut, nil},
	{"fsync of a rollback's begin", "agent agent.rolling", aRollbackAndPowerCut, nil},
	{"fsync of a rollback's end", "agent agent.rolled", aRollbackAndPowerCut, nil},
	{"recover keeps the rollbacks", "agent agent.settle", aRollbackAndRecover, nil},
	{"registration", "supervise run.register", aRollback, nil},
	{"account", "supervise run.rollAll", aRollback, nil},
}

// known has the guards by name.
var known = func() map[string]bool {
	all := map[string]bool{}
	for _, g := range guards {
		all[g.name] = true
	}
	return all
}()

package model

var one = []holder{byEngine}

// The scenarios are small, and each is explored whole.
var (
	aFault       = scenario{name: "a fault", faults: one, blows: 3}
	stops        = scenario{name: "a fault, processes that stop", faults: one, blows: 3, stops: true}
	hangs        = scenario{name: "a fault, processes that hang", faults: one, blows: 2, hangs: true}
	twoHolders   = scenario{name: "a fault that the kernel holds and one that the engine holds", faults: []holder{byKernel, byEngine}, blows: 2, stops: true}
	aSuccessor   = scenario{name: "somebody else restarts the container and harms it", faults: one, blows: 1, foreign: true, starts: []kind{recovering}}
	aPowerCut    = scenario{name: "a power cut, then recover", faults: one, blows: 1, host: true, starts: []kind{recovering}}
	aFullDisk    = scenario{name: "a full disk", faults: one, blows: 1, disk: true, starts: []kind{recovering}}
	fromTheHello = scenario{name: "from the hello on, then recover and the next run", faults: one, birth: true, blows: 1, stops: true, starts: []kind{recovering, anotherRun}}

	recovers     = scenario{name: "recover twice, also at the same time, after both were killed at once", faults: one, blows: 1, host: true, starts: []kind{recovering, recovering}}
	theNextRun   = scenario{name: "the next run", faults: one, blows: 2, stops: true, starts: []kind{anotherRun}}
	theRedButton = scenario{name: "the red button", faults: one, blows: 2, stops: true, hangs: true, starts: []kind{stopButton}}

	aRollback            = scenario{name: "a rollback of the script", faults: one, rollback: true, blows: 2, stops: true}
	aRollbackAndRecover  = scenario{name: "a rollback of the script, and recover", rollback: true, blows: 2, starts: []kind{recovering}}
	aRollbackAndPowerCut = scenario{name: "a rollback of the script, a power cut, then recover", rollback: true, blows: 1, host: true, starts: []kind{recovering}}
	theEngineAway        = scenario{name: "an engine that stays away, and recover", faults: one, blows: 1, away: true, starts: []kind{recovering}}
)

var scenarios = []scenario{
	aFault, stops, hangs, twoHolders, aSuccessor, aPowerCut, aFullDisk, fromTheHello,
	recovers, theNextRun, theRedButton,
	aRollback, aRollbackAndRecover, aRollbackAndPowerCut, theEngineAway,
}

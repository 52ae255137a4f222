package model

// A life is what a process does.
type life uint8

const (
	unborn  life = iota
	running      // it makes its steps
	hanging      // its heart beats, and it does nothing else
	stopped      // SIGSTOP
	killed       // SIGKILL, or the host is lost
	ended        // in order
)

func (l life) alive() bool { return l == running || l == hanging || l == stopped }

// gone is what the other end of its link sees as EOF.
func (l life) gone() bool { return l == killed || l == ended }

// Where the run's supervisor is.
const (
	greeting  uint8 = iota
	method          // the script may ask for faults
	ordered         // undo_all was sent
	replacing       // the agent is lost: another one takes its ledger over
	after           // everything is undone: the script's rollbacks
	closing
)

type supervisor struct {
	life
	at     uint8
	inject uint8 // of the present fault: 0, admitted, sent
	fault  uint8 // how many were asked for
	reg    uint8 // the script's rollback: 0, sent, told
	roll   uint8 // its run: 0, asked, seen: it has run, sent: the ledger is told, over
	lost   bool  // its first agent is given up
	heirs  uint8 // how many were started
}

// Steps of one request.
const (
	sent uint8 = iota + 1
	asked
	admitted // its place is taken
	written  // in the page cache
	durable  // fsynced
	harming  // the engine has the call
	seen     // the harm is there
	over     // nobody waits for it any more
	refused  // nothing was touched
)

// Steps of one undo.
const (
	begun uint8 = iota + 1
	back        // the world is as it was
	out         // and the ledger says so
)

// Epochs.
const (
	fresh uint8 = iota
	open
	undoing
	closed
)

// Hello's steps before the epoch opens.
const (
	locked   uint8 = iota + 1
	headed         // the ledger is there, under no name yet
	unlocked       // it has its name, and not its flock
	named
	retreated
)

type agent struct {
	life
	hello    uint8
	opened   bool // its epoch was open when it ended
	epoch    uint8
	apply    [2]uint8
	undo     [2]uint8
	stuck    [2]bool
	keep     uint8 // the registration of the script's rollback
	keeping  keeping
	undoAll  bool  // the call has come
	close    uint8 // 0, sent, over
	released bool
	term     bool // a signal has come
}

// Keeping is what an agent does for whoever runs the script's rollback: the
// records of its begin and of its end.
type keeping struct{ rolling, rolled uint8 }

// Where an undo-only agent, or a stop, is.
const (
	waiting uint8 = iota
	holding       // the flock is its own
	settled       // whatever it found is undone
	keeper        // and it keeps the ledger for the script's rollback
	nothing       // there was no ledger
	busy          // the flock is somebody else's: left alone
)

// Who holds a flock or a lock.
const (
	nobody uint8 = iota
	theAgent
	theHeir
	theFirst
	theSecond
)

// An undoer takes back what a dead agent left: the heir that a supervisor starts,
// or the agent of a later start.
type undoer struct {
	life
	at    uint8
	fault uint8 // the one it is at
	undo  uint8
	stuck [2]bool
	keeping
}

// A start is a later `runner recover`, `runner` or `runner stop`.
type start struct {
	life
	roll   uint8 // as the supervisor's
	tries  uint8 // agents that have died on it
	opened bool  // a run: its epoch is open
}

// The ledger of the run.
type ledger struct {
	there   bool // it has its name
	flock   uint8
	intent  [2]uint8 // 0, written, durable
	undone  [2]bool
	roll    uint8 // the script's rollback: 0, written, durable
	rolling uint8 // its begin
	rolled  uint8 // its end
}

// One fault, as the world has it.
type world struct {
	asked     bool // the engine has a call that has not acted yet
	harm      bool
	successor bool // the container is a later generation, that somebody else has made
	theirs    bool // and somebody else has harmed that one
	ours      bool // kernel: held by the run's agent
}

// What cannot be seen in a state any more.
type past struct {
	told     bool  // the script was told that its rollback is registered
	ran      uint8 // how often it has run, at most 2
	recorded bool  // its keeper has said that its end is on disk
	again    bool  // leave to run it was given after that
	touched  bool  // an undo has touched a successor
	late     bool  // harm was begun after the end of an undo of everything
	blows    uint8 // that processes have got
	lost     bool  // the host was
	full     bool  // the disk is
	away     bool  // the engine does not answer any more
}

type state struct {
	super  supervisor
	agent  agent
	undoer [3]undoer // the heir, and those of two later starts
	start  [2]start
	book   ledger
	world  [2]world
	lock   uint8
	past   past
}

package model

// A step is one transition. Its hits are the failpoints that the real code
// passes while it makes it, in order; a crash at one of them is a crash of the
// model before or after the step.
type step struct {
	who  string
	name string
	hits []string
	foe  bool // the adversary's, not the protocol's
	can  func(*state) bool
	do   func(*state)
}

func (p step) String() string { return p.who + ": " + p.name }

// What a fault is held by.
type holder uint8

const (
	byEngine holder = iota
	byKernel        // gone with its holder
)

// What a later start is.
type kind uint8

const (
	recovering kind = iota // runner recover
	anotherRun             // runner FILE.star
	stopButton             // runner stop
)

// A scenario bounds what is explored.
type scenario struct {
	name     string
	faults   []holder
	rollback bool // the script registers one
	starts   []kind
	birth    bool // begin before the agent's hello

	blows   uint8 // SIGKILL, SIGSTOP and hangs, of any process
	stops   bool  // SIGSTOP and SIGCONT are among them
	hangs   bool  // and processes that beat and do nothing else
	host    bool  // the host may be lost, with all that was not synced
	disk    bool  // the disk may be full when an intent is written
	foreign bool  // somebody else may restart the container, and harm that one
	away    bool  // the engine may stop answering
}

// A model is a scenario under the guards that are on.
type model struct {
	scenario
	off map[string]bool
}

func (m *model) on(g string) bool {
	if !known[g] {
		panic("unknown guard " + g)
	}
	return !m.off[g]
}

func (m *model) start() state {
	var s state
	s.super.life, s.agent.life = running, running
	if !m.birth {
		s.super.at, s.agent.hello, s.agent.epoch = method, named, open
		s.book.there, s.book.flock, s.lock = true, theAgent, theAgent
	}
	return s
}

func (m *model) steps() []step {
	all := m.ofSupervisor()
	all = append(all, m.ofAgent()...)
	for i := range m.faults {
		all = append(all, m.ofFault(i)...)
		all = append(all, m.ofEngine(i)...)
	}
	for n := range m.starts {
		all = append(all, m.ofStart(n)...)
		all = append(all, m.ofUndoer(n+1)...)
	}
	all = append(all, m.ofUndoer(0)...)
	return append(all, m.ofFoe()...)
}

// die is what the kernel does for a process that has ended, whoever it was.
func (s *state) die(who uint8) {
	if s.book.flock == who {
		s.book.flock = nobody
	}
	if s.lock == who {
		s.lock = nobody
	}
	if who == theAgent {
		for i := range s.world {
			if w := &s.world[i]; w.ours {
				w.harm, w.ours = false, false
			}
		}
	}
}

// killAgent is SIGKILL to the run's first agent.
func (s *state) killAgent() {
	if s.agent.alive() {
		s.agent.life = killed
		s.die(theAgent)
	}
}

// harmed says whether our harm is in, or may yet come.
func (s *state) harmed(i int) bool { return s.world[i].harm || s.world[i].asked }

func (s *state) anyHarm() bool { return s.harmed(0) || s.harmed(1) }

// pending says whether the script's rollback stands in the ledger and its end
// does not.
func (s *state) pending() bool { return s.book.roll != 0 && s.book.rolled == 0 }

// takeBack is what an undo does to the world.
func (m *model) takeBack(s *state, i int) {
	w := &s.world[i]
	if w.successor {
		if w.theirs && !m.on("generation") {
			w.theirs, s.past.touched = false, true
		}
		return
	}
	w.harm, w.ours = false, false
}

// mayUndo says whether an undo may act: what was asked of the engine on behalf
// of somebody who has died is waited for.
func (m *model) mayUndo(s *state, i int) bool {
	return !s.world[i].asked || !m.on("landing")
}

// leave is what whoever runs the script's rollback needs first.
func (s *state) leave() { s.past.again = s.past.again || s.past.recorded }

// run is the script's rollback being run.
func (s *state) run() { s.past.ran = min(s.past.ran+1, 2) }

func (b *ledger) remove() { b.there = false }

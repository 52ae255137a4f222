package model

// ofUndoer has the steps of an agent that only takes back: n = 0 is the heir of
// the run's own supervisor, the others belong to later starts. A stop has no
// agent; what it does by itself is the same.
func (m *model) ofUndoer(n int) []step {
	me, who := theHeir+uint8(n), []string{"heir", "first start's agent", "second start's agent"}[n]
	stops := n > 0 && m.starts[n-1] == stopButton
	u := func(s *state) *undoer { return &s.undoer[n] }
	is := func(at uint8) func(*state) bool { return func(s *state) bool { return u(s).at == at } }
	patient := func(s *state) bool { // a run waits for whoever is about to undo what it would run into
		return n > 0 && m.starts[n-1] == anotherRun && s.next(m, &undoer{}) != none && m.on("wait for the undo of others")
	}
	farewell := []string{"after-latch", "before-release", "after-closed"} // of an epoch in which nothing was injected
	if stops {
		farewell = nil
	}
	all := []step{
		{name: "takes the ledger's flock",
			can: func(s *state) bool {
				return is(waiting)(s) && s.book.there && (s.book.flock == nobody || !m.on("flock"))
			},
			do: func(s *state) {
				u(s).at = holding
				if s.book.flock == nobody {
					s.book.flock = me
				}
			}},
		{name: "finds no ledger", hits: []string{"before-open"},
			can: func(s *state) bool { return is(waiting)(s) && !s.book.there },
			do:  func(s *state) { u(s).at = nothing }},
		{name: "finds its holder alive", hits: []string{"before-open"},
			can: func(s *state) bool {
				held := s.book.flock != nobody && m.on("flock")
				return is(waiting)(s) && s.book.there && held && !patient(s) && !(stops && s.book.flock == theAgent)
			},
			do: func(s *state) { u(s).at = busy }},
		{name: "begins an undo", hits: []string{"before-undo", "after-undoing"},
			can: func(s *state) bool { return is(holding)(s) && u(s).undo == 0 && s.next(m, u(s)) != none },
			do:  func(s *state) { u(s).undo, u(s).fault = begun, s.next(m, u(s)) }},
		{name: "undoes", hits: []string{"after-undo"},
			can: func(s *state) bool { return u(s).undo == begun && m.mayUndo(s, int(u(s).fault)) && !s.past.away },
			do:  func(s *state) { u(s).undo = back; m.takeBack(s, int(u(s).fault)) }},
		{name: "gives an undo up", // its engine is away
			can: func(s *state) bool { return u(s).undo == begun && s.past.away },
			do:  func(s *state) { u(s).stuck[u(s).fault], u(s).undo = true, 0 }},
		{name: "records an undo", hits: []string{"after-undone"},
			can: func(s *state) bool { return u(s).undo == back },
			do:  func(s *state) { s.book.undone[u(s).fault], u(s).undo = true, 0 }},
		{name: "settles the ledger", hits: []string{"before-settle", "before-open"},
			can: func(s *state) bool { return is(holding)(s) && u(s).undo == 0 && s.next(m, u(s)) == none },
			do: func(s *state) {
				switch {
				case stops: // it stays for the run's end to be told
					u(s).at, s.book.flock = settled, nobody
				case s.pending() && m.on("recover keeps the rollbacks"):
					u(s).at = keeper
				case u(s).anyStuck() && m.on("recover keeps what is stuck"):
					u(s).at, s.book.flock = settled, nobody
				default:
					u(s).at, s.book.flock = settled, nobody
					s.book.there = false
				}
			}},
		{name: "has nothing left to keep the ledger for", hits: []string{"before-remove-dead"},
			can: func(s *state) bool { return u(s).rolled == over && s.book.flock == me && !u(s).anyStuck() },
			do:  func(s *state) { s.book.there, s.book.flock = false, nobody }},
		{name: "ends", hits: farewell,
			can: func(s *state) bool {
				owner := s.super.life
				if n > 0 {
					owner = s.start[n-1].life
				}
				return owner.gone() && u(s).at > holding
			},
			do: func(s *state) { u(s).life = ended; s.die(me) }},
	}
	all = append(all, m.ofAccount(func(s *state) *keeping { return &u(s).keeping }, func(*state) bool { return true })...)
	if n == 0 {
		all = append(all, step{name: "harms, as the first agent would",
			can: func(s *state) bool {
				return !m.on("undo only") && u(s).at > holding && s.super.inject == admitted && m.faults[s.super.fault] == byEngine
			},
			do: func(s *state) {
				s.super.inject = sent
				s.world[s.super.fault].asked, s.past.late = true, true
			}})
	}
	if stops {
		all = append(all,
			step{name: "ends the run's agent by a signal",
				can: func(s *state) bool {
					return is(waiting)(s) && s.book.flock == theAgent && s.agent.life == running && !s.agent.term
				},
				do: func(s *state) { s.agent.term = true }},
			step{name: "kills the run's agent, which does not end",
				can: func(s *state) bool {
					wedged := s.agent.life == stopped || s.agent.life == hanging
					return is(waiting)(s) && s.book.flock == theAgent && wedged
				},
				do: func(s *state) { s.killAgent() }},
			step{name: "sees that everything is undone",
				can: func(s *state) bool { return is(waiting)(s) && s.book.flock == theAgent && s.agent.epoch == closed },
				do:  func(s *state) { u(s).at = settled }})
	}
	return when(func(s *state) bool { return u(s).life == running }, who, all)
}

const none = 99

// next is the last fault that is in, as the ledger says, and that is not stuck.
func (s *state) next(m *model, u *undoer) uint8 {
	for i := len(m.faults) - 1; i >= 0; i-- {
		if s.book.intent[i] != 0 && !s.book.undone[i] && !u.stuck[i] {
			return uint8(i)
		}
	}
	return none
}

func (u *undoer) anyStuck() bool { return u.stuck[0] || u.stuck[1] }

// triesAtMost is how many agents a recover starts after its first; the real one
// starts two.
const triesAtMost = 1

// ofStart has the steps of a later start. It may come at any time, and is over
// when its agent has answered and the dead run's rollback has run.
func (m *model) ofStart(n int) []step {
	who := []string{"first start", "second start"}[n]
	o := func(s *state) *start { return &s.start[n] }
	u := func(s *state) *undoer { return &s.undoer[n+1] }
	comes := step{who: who, name: "comes", foe: true,
		can: func(s *state) bool { return o(s).life == unborn && (n == 0 || s.start[0].life != unborn) },
		do: func(s *state) {
			o(s).life = running
			if m.starts[n] != anotherRun {
				u(s).life = running
			}
		}}
	keeps := func(s *state) bool { return u(s).life == running && u(s).at == keeper }
	all := []step{
		{name: "takes the engine", hits: []string{"after-lock"},
			can: func(s *state) bool { return u(s).life == unborn && (s.lock == nobody || !m.on("lock")) },
			do: func(s *state) {
				u(s).life = running
				if s.lock == nobody {
					s.lock = theFirst + uint8(n)
				}
			}},
		{name: "is told that another run has the engine",
			can: func(s *state) bool { return u(s).life == unborn && s.lock != nobody && m.on("lock") },
			do:  func(s *state) { o(s).life = ended }},
		{name: "opens",
			can: func(s *state) bool { return m.starts[n] == anotherRun && !o(s).opened && u(s).at > holding },
			do:  func(s *state) { o(s).opened = true }},
		{name: "asks whether the dead run's rollback may begin",
			can: func(s *state) bool { return keeps(s) && o(s).roll == 0 },
			do:  func(s *state) { o(s).roll, u(s).rolling = asked, sent }},
		{name: "runs the dead run's rollback", hits: []string{"run-rollback"},
			can: func(s *state) bool { return o(s).roll == asked && u(s).rolling == over },
			do:  func(s *state) { s.run(); o(s).roll = seen }},
		{name: "has the rollback's end recorded",
			can: func(s *state) bool { return keeps(s) && o(s).roll == seen },
			do:  func(s *state) { o(s).roll, u(s).rolled = sent, sent }},
		{name: "starts another agent",
			can: func(s *state) bool {
				lost := u(s).life != unborn && u(s).life != running && u(s).at <= holding
				return lost && m.starts[n] == recovering && o(s).tries < triesAtMost && m.on("another agent")
			},
			do: func(s *state) {
				s.die(theFirst + uint8(n)) // it is killed if it stands still
				*u(s) = undoer{life: running}
				o(s).tries++
			}},
		{name: "ends",
			can: func(s *state) bool {
				switch {
				case u(s).life == unborn:
					return false
				case u(s).life != running: // it has died, or does not answer for too long
					return m.starts[n] != recovering || u(s).at > holding || o(s).tries == triesAtMost || !m.on("another agent")
				case u(s).at == keeper:
					return u(s).rolled == over
				}
				return u(s).at > holding && (m.starts[n] != anotherRun || o(s).opened)
			},
			do: func(s *state) { o(s).life = ended }},
	}
	return append(when(func(s *state) bool { return o(s).life == running }, who, all), comes)
}

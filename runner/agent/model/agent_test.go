package model

// ofAgent has the steps of the run's first agent that belong to no single fault.
func (m *model) ofAgent() []step {
	all := append(m.ofHello(), m.ofEpoch()...)
	all = append(all, m.ofKeeping()...)
	return when(func(s *state) bool { return s.agent.life == running }, "agent", all)
}

func (m *model) ofHello() []step {
	return []step{
		{name: "takes the engine", hits: []string{"after-lock"},
			can: func(s *state) bool { return s.agent.hello == 0 && (s.lock == nobody || !m.on("lock")) },
			do: func(s *state) {
				s.agent.hello = locked
				if s.lock == nobody {
					s.lock = theAgent
				}
			}},
		{name: "is told that another run has it",
			can: func(s *state) bool { return s.agent.hello == 0 && s.lock != nobody && m.on("lock") },
			do:  func(s *state) { s.agent.life = ended; s.die(theAgent) }},
		{name: "writes the header of its ledger", hits: []string{"before-fsync-header"},
			can: func(s *state) bool { return s.agent.hello == locked },
			do:  func(s *state) { s.agent.hello = headed }},
		{name: "names its ledger",
			can: func(s *state) bool { return s.agent.hello == headed },
			do: func(s *state) {
				s.agent.hello, s.book.there = named, true
				if m.on("flock before the name") {
					s.book.flock = theAgent
				} else {
					s.agent.hello = unlocked
				}
			}},
		{name: "takes its ledger's flock late",
			can: func(s *state) bool { return s.agent.hello == unlocked && s.book.flock == nobody },
			do:  func(s *state) { s.agent.hello, s.book.flock = named, theAgent }},
		{name: "opens", hits: []string{"before-open"},
			can: func(s *state) bool { return s.agent.hello == named && s.agent.epoch == fresh },
			do:  func(s *state) { s.agent.epoch = open }},
		{name: "retreats", hits: []string{"before-open"}, // its epoch was ended before it was open
			can: func(s *state) bool { return s.agent.hello == named && s.agent.epoch == closed && !s.agent.opened },
			do: func(s *state) {
				s.agent.hello = retreated
				s.book.remove()
				s.release()
			}},
	}
}

func (s *state) release() {
	if s.lock == theAgent {
		s.lock = nobody
	}
}

func (m *model) ofEpoch() []step {
	told := func(s *state) bool {
		return s.agent.undoAll || s.agent.close == sent || s.agent.term ||
			m.on("end of file") && s.super.life.gone() ||
			m.on("silence") && (s.super.life.gone() || s.super.life == stopped)
	}
	return []step{
		{name: "latches", hits: []string{"after-latch"},
			can: func(s *state) bool { return s.agent.epoch <= open && told(s) },
			do:  func(s *state) { s.agent.opened = s.agent.epoch == open; s.agent.epoch = undoing }},
		{name: "has undone everything", hits: []string{"before-release"},
			can: func(s *state) bool { return s.agent.epoch == undoing && s.agent.allOut(m) },
			do:  func(s *state) { s.agent.epoch = closed }},
		{name: "lets the engine go", hits: []string{"after-closed"},
			can: func(s *state) bool { return s.agent.epoch == closed && !s.agent.released },
			do:  func(s *state) { s.agent.released = true; s.release() }},
		{name: "lets the engine go early",
			can: func(s *state) bool {
				return s.agent.epoch == undoing && s.lock == theAgent && !m.on("lock until undone")
			},
			do: func(s *state) { s.release() }},
		{name: "closes, and its ledger goes", hits: []string{"before-remove"},
			can: func(s *state) bool {
				return s.agent.close == sent && s.agent.released && (m.settled(s) || !m.on("close keeps what is left"))
			},
			do: func(s *state) { s.agent.close = over; s.book.remove() }},
		{name: "closes, and its ledger stays",
			can: func(s *state) bool {
				return s.agent.close == sent && s.agent.released && !m.settled(s) && m.on("close keeps what is left")
			},
			do: func(s *state) { s.agent.close = over }},
		{name: "ends",
			can: func(s *state) bool {
				busy := s.agent.hello != named && s.agent.hello != retreated && s.agent.hello != 0 ||
					s.agent.hello == named && !s.agent.opened
				return s.agent.released && !busy && (s.super.life.gone() || s.super.life == stopped && s.agent.term)
			},
			do: func(s *state) { s.agent.life = ended; s.die(theAgent) }},
	}
}

// settled says whether nothing is left that the ledger must tell of, as the
// agent sees it.
func (m *model) settled(s *state) bool {
	a := &s.agent
	none := a.keep <= sent || a.keep == refused || a.keeping.rolled == over
	return none && !a.stuck[0] && !a.stuck[1]
}

func (a *agent) allOut(m *model) bool {
	for i := range m.faults {
		if a.apply[i] >= admitted && a.apply[i] != refused && a.undo[i] != out {
			return false
		}
	}
	return true
}

// ofKeeping has the registration of the script's rollback, and of its end.
func (m *model) ofKeeping() []step {
	isOpen := func(s *state) bool { return s.agent.epoch == open || !m.on("latch") }
	return append([]step{
		{name: "admits the rollback",
			can: func(s *state) bool { return s.agent.keep == sent && isOpen(s) },
			do:  func(s *state) { s.agent.keep = admitted }},
		{name: "refuses the rollback",
			can: func(s *state) bool { return s.agent.keep == sent && !isOpen(s) },
			do:  func(s *state) { s.agent.keep = refused }},
		{name: "writes the rollback", hits: []string{"before-fsync-rollback"},
			can: func(s *state) bool { return s.agent.keep == admitted },
			do:  func(s *state) { s.agent.keep, s.book.roll = written, max(s.book.roll, written) }},
		{name: "has the rollback on disk",
			can: func(s *state) bool { return s.agent.keep == written },
			do: func(s *state) {
				s.agent.keep = over
				if m.on("fsync of a rollback") {
					s.book.roll = durable
				}
			}},
		{name: "is asked for a rollback that it does not have",
			can: func(s *state) bool {
				return s.agent.keeping.rolling == sent && (s.agent.keep <= sent || s.agent.keep == refused)
			},
			do: func(s *state) { s.agent.keeping.rolling = refused }},
	}, m.ofAccount(func(s *state) *keeping { return &s.agent.keeping }, func(s *state) bool { return s.agent.keep == over })...)
}

// ofAccount has the records of a rollback's begin and end. One that is being
// registered is waited for.
func (m *model) ofAccount(of func(*state) *keeping, kept func(*state) bool) []step {
	return []step{
		{name: "writes the rollback's begin", hits: []string{"before-fsync-rolling"},
			can: func(s *state) bool { return of(s).rolling == sent && kept(s) },
			do:  func(s *state) { of(s).rolling, s.book.rolling = written, max(s.book.rolling, written) }},
		{name: "has the rollback's begin on disk",
			can: func(s *state) bool { return of(s).rolling == written },
			do: func(s *state) {
				s.leave()
				of(s).rolling = over
				if m.on("fsync of a rollback's begin") {
					s.book.rolling = durable
				}
			}},
		{name: "writes the rollback's end", hits: []string{"before-fsync-rolled"},
			can: func(s *state) bool { return of(s).rolled == sent },
			do:  func(s *state) { of(s).rolled, s.book.rolled = written, max(s.book.rolled, written) }},
		{name: "has the rollback's end on disk",
			can: func(s *state) bool { return of(s).rolled == written },
			do: func(s *state) {
				of(s).rolled, s.past.recorded = over, true // whoever has run it is told
				if m.on("fsync of a rollback's end") {
					s.book.rolled = durable
				}
			}},
	}
}

// ofFault has the steps of one fault in the run's first agent: its apply, on a
// goroutine of its own, and its undo, on that of whoever is first.
func (m *model) ofFault(i int) []step {
	isOpen := func(s *state) bool { return s.agent.epoch == open || !m.on("latch") }
	at := func(pc uint8) func(*state) bool { return func(s *state) bool { return s.agent.apply[i] == pc } }
	harm := func(s *state) {
		s.agent.apply[i] = harming
		s.past.late = s.past.late || s.agent.epoch == closed || s.book.flock != theAgent
		if m.faults[i] == byEngine {
			s.world[i].asked = true
		} else {
			s.world[i].harm, s.world[i].ours = true, true
		}
	}
	return when(func(s *state) bool { return s.agent.life == running }, "agent", []step{
		{name: "admits fault" + number(i), hits: []string{"before-intent"},
			can: func(s *state) bool { return at(sent)(s) && isOpen(s) },
			do:  func(s *state) { s.agent.apply[i] = admitted }},
		{name: "refuses fault" + number(i),
			can: func(s *state) bool { return at(sent)(s) && !isOpen(s) },
			do:  func(s *state) { s.agent.apply[i] = refused }},
		{name: "writes the intent of fault" + number(i), hits: []string{"before-fsync-intent"},
			can: at(admitted),
			do:  func(s *state) { s.agent.apply[i], s.book.intent[i] = written, written }},
		{name: "has the intent on disk, of fault" + number(i), hits: []string{"after-intent"},
			can: func(s *state) bool { return at(written)(s) && !s.past.full },
			do: func(s *state) {
				s.agent.apply[i] = durable
				if m.on("fsync of an intent") {
					s.book.intent[i] = durable
				}
			}},
		{name: "cannot have the intent on disk, of fault" + number(i),
			can: func(s *state) bool { return at(written)(s) && s.past.full },
			do: func(s *state) {
				s.book.intent[i], s.agent.apply[i] = 0, refused
				if !m.on("fsync's error") {
					s.agent.apply[i] = durable
				}
			}},
		{name: "harms by fault" + number(i),
			can: func(s *state) bool { // whoever looked whether the epoch is open did so before
				now := at(durable)(s) || at(admitted)(s) && !m.on("intent first")
				return now && (!s.world[i].successor || !m.on("look again"))
			},
			do: harm},
		{name: "does not harm any more by fault" + number(i),
			can: func(s *state) bool {
				return at(durable)(s) && (!isOpen(s) || s.world[i].successor && m.on("look again"))
			},
			do: func(s *state) { s.agent.apply[i] = over }},
		{name: "sees the harm of fault" + number(i), hits: []string{"after-apply"},
			can: func(s *state) bool { return at(harming)(s) && !s.world[i].asked && s.world[i].harm },
			do:  func(s *state) { s.agent.apply[i] = seen }},
		{name: "sees no harm of fault" + number(i), hits: []string{"after-applied"},
			can: func(s *state) bool { return at(harming)(s) && !s.world[i].asked && !s.world[i].harm },
			do:  func(s *state) { s.agent.apply[i] = over }},
		{name: "records that fault" + number(i) + " is in", hits: []string{"after-applied"},
			can: at(seen),
			do:  func(s *state) { s.agent.apply[i] = over }},

		{name: "begins the undo of fault" + number(i), hits: []string{"before-undo", "after-undoing"},
			can: func(s *state) bool {
				a := s.agent
				ready := a.apply[i] == over || !m.on("wait for the apply") && a.apply[i] >= admitted && a.apply[i] != refused
				return a.undo[i] == 0 && ready && (a.epoch == undoing || m.on("ttl") && a.epoch == open)
			},
			do: func(s *state) {
				s.agent.undo[i] = begun
				s.book.undone[i] = s.book.undone[i] || !m.on("undone after the undo")
			}},
		{name: "undoes fault" + number(i), hits: []string{"after-undo"},
			can: func(s *state) bool { return s.agent.undo[i] == begun && m.mayUndo(s, i) && !s.past.away },
			do:  func(s *state) { s.agent.undo[i] = back; m.takeBack(s, i) }},
		{name: "gives up the undo of fault" + number(i), // its engine is away
			can: func(s *state) bool { return s.agent.undo[i] == begun && s.past.away },
			do:  func(s *state) { s.agent.undo[i], s.agent.stuck[i] = out, true }},
		{name: "records that fault" + number(i) + " is out", hits: []string{"after-undone"},
			can: func(s *state) bool { return s.agent.undo[i] == back },
			do:  func(s *state) { s.agent.undo[i], s.book.undone[i] = out, true }},
	})
}

func number(i int) string { return string([]byte{' ', '1' + byte(i)}) }

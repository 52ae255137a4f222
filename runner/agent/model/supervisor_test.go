package model

// heirsAtMost is how many agents a supervisor starts to take over from its
// first; the real one goes on for 30 s.
const heirsAtMost = 2

func (m *model) ofSupervisor() []step {
	all := append(m.ofMethod(), m.ofReplacing()...)
	all = append(all, m.ofRollback()...)
	return when(func(s *state) bool { return s.super.life == running }, "supervisor", all)
}

// when has steps made only while a condition holds, such as that their process runs.
func when(ok func(*state) bool, who string, all []step) []step {
	for i := range all {
		can := all[i].can
		all[i].who = who
		all[i].can = func(s *state) bool { return ok(s) && can(s) }
	}
	return all
}

// ofMethod has the steps up to the undo of everything. The script makes one call
// at a time; what was asked for and not answered when the undo is ordered goes on
// beside it.
func (m *model) ofMethod() []step {
	return []step{
		{name: "is greeted", hits: []string{"run-greeted", "run-journal", "run-method"},
			can: func(s *state) bool { return s.super.at == greeting && s.agent.epoch == open },
			do:  func(s *state) { s.super.at = method }},
		{name: "is not greeted",
			can: func(s *state) bool {
				return s.super.at == greeting && (s.agent.life != running || s.agent.epoch > open)
			},
			do: func(s *state) { s.killAgent(); s.super.life = ended }},

		{name: "has the rollback registered",
			can: func(s *state) bool { return m.rollback && s.super.at == method && s.super.reg == 0 },
			do:  func(s *state) { s.super.reg, s.agent.keep = sent, sent }},
		{name: "tells the script that it is registered",
			can: func(s *state) bool { return s.super.reg == sent && s.agent.keep == over },
			do:  func(s *state) { s.super.reg, s.past.told = over, true }},
		{name: "tells the script that it is not",
			can: func(s *state) bool { // or does not know
				return s.super.reg == sent && (s.agent.keep == refused || s.agent.life != running)
			},
			do: func(s *state) { s.super.reg = refused }},

		{name: "admits a fault", hits: []string{"run-inject"},
			can: func(s *state) bool {
				return s.super.at == method && s.super.reg != sent && s.super.inject == 0 && int(s.super.fault) < len(m.faults)
			},
			do: func(s *state) { s.super.inject = admitted }},
		{name: "sends apply", // after a SIGSTOP of any length, or since the undo was ordered
			can: func(s *state) bool { return s.super.inject == admitted },
			do:  func(s *state) { s.super.inject, s.agent.apply[s.super.fault] = sent, sent }},
		{name: "has the answer to apply, or waits no more", hits: []string{"run-applied", "run-answer"},
			can: func(s *state) bool {
				if s.super.inject != sent {
					return false
				}
				answered := s.agent.apply[s.super.fault] >= over || s.agent.life.gone()
				return answered || s.super.at > method
			},
			do: func(s *state) { s.super.inject, s.super.fault = 0, s.super.fault+1 }},

		{name: "orders the undo of everything", hits: []string{"run-ended", "run-undo"}, // method's end, abort, signal
			can: func(s *state) bool { return s.super.at == method },
			do:  func(s *state) { s.super.at, s.agent.undoAll = ordered, true }},
		{name: "hears that everything is undone", hits: []string{"run-undone"},
			can: func(s *state) bool { return s.super.at == ordered && s.agent.epoch == closed },
			do:  func(s *state) { s.super.at = after }},
	}
}

// ofReplacing has the steps by which another agent takes the place of the first.
func (m *model) ofReplacing() []step {
	gone := func(s *state) bool { return s.undoer[0].life == unborn || s.undoer[0].life.gone() }
	more := func(s *state) bool { return s.super.heirs < heirsAtMost }
	return []step{
		{name: "gives its agent up", // no answer to a beat for 1 s, or to undo_all, or its end was seen
			can: func(s *state) bool {
				return !s.super.lost && m.on("answer") && s.agent.life != running &&
					(s.super.at == ordered || s.super.at == method && s.agent.life != hanging)
			},
			do: m.loseAgent},
		{name: "gives its agent up, which keeps the rollbacks",
			can: func(s *state) bool {
				return s.super.at == after && !s.super.lost && m.on("account") && m.owes(s) && s.agent.life != running
			},
			do: m.loseAgent},
		{name: "starts an heir", hits: []string{"run-second"},
			can: func(s *state) bool { return s.super.at == replacing && more(s) && gone(s) },
			do:  func(s *state) { s.undoer[0] = undoer{life: running}; s.super.heirs++ }},
		{name: "hears what the heir has undone",
			can: func(s *state) bool {
				h := s.undoer[0]
				return s.super.at == replacing && h.life == running && h.at > holding && h.at != busy
			},
			do: func(s *state) {
				s.super.at = after
				switch {
				case s.undoer[0].at != keeper:
					s.super.roll = over // others have seen to it, or there was none
				case s.super.roll == sent:
					s.super.roll = seen // it has run; this one has yet to be told
				case s.super.roll == asked:
					s.super.roll = 0
				}
			}},
		{name: "gives its heir up",
			can: func(s *state) bool {
				h := s.undoer[0]
				useless := s.super.at == replacing && !gone(s) && (h.life != running || h.at == busy)
				missed := s.super.at == after && s.super.lost && m.on("account") && m.owes(s) && h.life != running
				return more(s) && (useless || missed)
			},
			do: func(s *state) { s.undoer[0].life = killed; s.die(theHeir); s.super.at = replacing }},
		{name: "leaves the rest to recover",
			can: func(s *state) bool {
				h := s.undoer[0]
				return s.super.at == replacing && !more(s) && (h.life != running || h.at == busy)
			},
			do: func(s *state) {
				s.super.at, s.super.roll = after, over
			}},
	}
}

func (m *model) loseAgent(s *state) {
	if m.on("kill first") {
		s.killAgent()
	}
	s.super.lost, s.super.at = true, replacing
}

// owes says whether the script's rollback has yet to run or to be recorded, as far
// as the supervisor knows: it was asked for, or the heir has found it.
func (m *model) owes(s *state) bool {
	switch {
	case !m.rollback || s.super.roll == over:
		return false
	case s.super.lost && s.undoer[0].at == keeper:
		return true
	case !m.on("registration"):
		return s.super.reg == over
	}
	return s.super.reg != 0
}

// keeper is the agent that keeps account of the rollbacks, and whether it can be
// asked.
func (s *state) keeper() (k *keeping, ok bool) {
	if !s.super.lost {
		return &s.agent.keeping, s.agent.life == running
	}
	h := &s.undoer[0]
	return &h.keeping, h.life == running && h.at == keeper
}

// ofRollback has the steps from the undo of everything to the end.
func (m *model) ofRollback() []step {
	has := func(s *state) bool { _, ok := s.keeper(); return ok }
	exhausted := func(s *state) bool { return s.super.lost && s.super.heirs == heirsAtMost }
	return when(func(s *state) bool { return s.super.at >= after }, "", []step{
		{name: "asks whether the rollback may begin",
			can: func(s *state) bool { return s.super.at == after && m.owes(s) && s.super.roll == 0 && has(s) },
			do:  func(s *state) { k, _ := s.keeper(); *k, s.super.roll = keeping{rolling: sent}, asked }},
		{name: "hears that there is none to run",
			can: func(s *state) bool { k, _ := s.keeper(); return s.super.roll == asked && k.rolling == refused },
			do:  func(s *state) { s.super.roll = over }},
		{name: "runs the rollback", hits: []string{"run-rollback", "run-rolled"},
			can: func(s *state) bool {
				k, _ := s.keeper()
				unasked := !m.on("account") && s.super.at == after && m.owes(s) && s.super.roll == 0
				return s.super.roll == asked && k.rolling == over || unasked
			},
			do: func(s *state) {
				if s.super.roll == 0 {
					s.leave()
				}
				s.run()
				s.super.roll = seen
			}},
		{name: "has the rollback's end recorded",
			can: func(s *state) bool { return s.super.roll == seen && has(s) },
			do:  func(s *state) { k, _ := s.keeper(); k.rolled, s.super.roll = sent, sent }},
		{name: "hears that the rollback's end is recorded",
			can: func(s *state) bool { k, ok := s.keeper(); return s.super.roll == sent && ok && k.rolled == over },
			do:  func(s *state) { s.super.roll = over }},
		{name: "leaves the rollback to recover",
			can: func(s *state) bool {
				return s.super.at == after && m.owes(s) && !has(s) && (!m.on("account") || exhausted(s))
			},
			do: func(s *state) { s.super.roll = over }},

		{name: "closes", hits: []string{"run-close"},
			can: func(s *state) bool { return s.super.at == after && !m.owes(s) && s.super.inject == 0 },
			do: func(s *state) {
				s.super.at = closing
				if !s.super.lost {
					s.agent.close = sent
				}
			}},
		{name: "ends", hits: []string{"run-closed"},
			can: func(s *state) bool {
				return s.super.at == closing && (s.super.lost || s.agent.close == over || s.agent.life != running)
			},
			do: func(s *state) { s.super.life = ended }},
	})
}

package model

// broken says which promise a state breaks; empty: none. quiet says that no
// process has anything left to do.
func (m *model) broken(s *state, quiet bool) string {
	for i := range m.faults {
		w := s.world[i]
		if s.harmed(i) && (s.book.intent[i] != durable || !s.book.there || s.book.undone[i]) {
			return "harm without a durable remedy"
		}
		if m.faults[i] == byKernel && w.harm && !s.agent.alive() {
			return "what the kernel held has outlived its holder"
		}
	}
	switch {
	case s.past.touched:
		return "an undo has touched a successor"
	case s.past.late:
		return "injected after the undo of everything"
	case s.agent.epoch == closed && s.anyHarm() && !s.past.away:
		return "the epoch is closed and harm is in"
	case m.rollback && s.past.again:
		return "leave was given for a rollback whose end was recorded"
	case (s.past.told || s.book.roll == durable) && s.past.ran == 0 && !(s.book.there && s.pending()):
		return "a rollback is lost"
	case s.past.ran > 0 && s.book.rolling != durable:
		return "a rollback has run that is not on record as begun"
	}
	for n, u := range s.undoer {
		if (u.at == settled || u.at == keeper) && s.anyHarm() && !s.past.away {
			return "whoever took the ledger over has ended, and harm is in"
		}
		if n > 0 && u.life.alive() && s.start[n-1].opened && (s.anyHarm() || s.amidst()) {
			return "the next run has begun before the last was undone"
		}
	}
	if !quiet {
		return ""
	}
	return m.brokenInTheEnd(s)
}

// amidst says whether somebody is taking the run's faults back.
func (s *state) amidst() bool {
	for _, u := range s.undoer {
		if u.life.alive() && u.undo == begun {
			return true
		}
	}
	return s.agent.life.alive() && (s.agent.undo[0] == begun || s.agent.undo[1] == begun)
}

// brokenInTheEnd is asked where no process has anything left to do.
func (m *model) brokenInTheEnd(s *state) string {
	lived := func(l life) bool { return l == running || l == ended }
	// Others have the ledger: the supervisor's heirs leave it to them.
	outrun := s.super.heirs == heirsAtMost && s.undoer[0].at == busy && s.book.flock != theAgent
	alone := s.super.life == ended && len(m.starts) == 0
	for n, o := range s.start {
		u := s.undoer[n+1]
		if o.life == ended && u.at <= holding && u.life != unborn && m.starts[n] == recovering && s.past.blows <= triesAtMost && s.anyHarm() && !s.past.away {
			return "a recover has lived, and harm is in"
		}
	}
	switch {
	case (lived(s.super.life) && !outrun || lived(s.agent.life)) && s.anyHarm() && !s.past.away:
		return "a leak though the supervisor or the agent lived and ran"
	case len(m.off) == 0 && s.super.life == running:
		return "the supervisor never ends"
	case alone && s.past.blows == 0 && s.book.there && !s.past.away:
		return "a run that nobody has disturbed has left a ledger"
	case alone && s.past.told && s.past.ran != 1:
		return "the supervisor lived, and a rollback has not run exactly once"
	case alone && s.pending() && s.past.ran > 0:
		return "the supervisor lived, and a rollback that has run will run again"
	}
	return ""
}

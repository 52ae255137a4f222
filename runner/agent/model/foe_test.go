package model

// ofEngine has what the engine does with a call, whoever made it and whether he
// lives or not.
func (m *model) ofEngine(i int) []step {
	return []step{
		{who: "engine", name: "does fault" + number(i),
			can: func(s *state) bool { return s.world[i].asked },
			do:  func(s *state) { s.world[i].asked, s.world[i].harm = false, true }},
		{who: "engine", name: "does not do fault" + number(i),
			can: func(s *state) bool { return s.world[i].asked },
			do:  func(s *state) { s.world[i].asked = false }},
	}
}

// A victim is a process that may be struck.
type victim struct {
	name string
	life func(*state) *life
	me   uint8
}

func (m *model) victims() []victim {
	all := []victim{
		{"supervisor", func(s *state) *life { return &s.super.life }, nobody},
		{"agent", func(s *state) *life { return &s.agent.life }, theAgent},
		{"heir", func(s *state) *life { return &s.undoer[0].life }, theHeir},
	}
	for n := range m.starts {
		name := []string{"first start", "second start"}[n]
		if m.starts[n] != stopButton { // else it is one process, its agent
			all = append(all, victim{name, func(s *state) *life { return &s.start[n].life }, nobody})
		}
		all = append(all, victim{name + "'s agent", func(s *state) *life { return &s.undoer[n+1].life }, theFirst + uint8(n)})
	}
	return all
}

func (m *model) ofFoe() []step {
	var all []step
	strike := func(name string, v victim, from func(life) bool, to life) {
		all = append(all, step{who: "foe", name: name + " the " + v.name, foe: true,
			can: func(s *state) bool {
				last := v.me == theHeir && s.super.heirs == heirsAtMost // the supervisor goes on until one lives
				return from(*v.life(s)) && s.past.blows < m.blows && !last
			},
			do: func(s *state) {
				s.past.blows++
				*v.life(s) = to
				if to == killed {
					s.die(v.me)
				}
			}})
	}
	isRunning := func(l life) bool { return l == running }
	for _, v := range m.victims() {
		strike("kills", v, life.alive, killed)
		if m.stops {
			strike("stops", v, isRunning, stopped)
			all = append(all, step{who: "foe", name: "wakes the " + v.name, foe: true,
				can: func(s *state) bool { return *v.life(s) == stopped },
				do:  func(s *state) { *v.life(s) = running }})
		}
		if m.hangs && (v.name == "supervisor" || v.me == theAgent) {
			strike("hangs", v, isRunning, hanging)
		}
	}
	once := func(name string, allowed bool, can func(*state) bool, do func(*state)) {
		if allowed {
			all = append(all, step{who: "foe", name: name, foe: true, can: can, do: do})
		}
	}
	for _, keeps := range []bool{true, false} {
		once(map[bool]string{true: "cuts the power", false: "cuts the power before anything more is written back"}[keeps], m.host,
			func(s *state) bool { return !s.past.lost },
			func(s *state) { m.cutPower(s, keeps) })
	}
	once("fills the disk", m.disk, func(s *state) bool { return !s.past.full }, func(s *state) { s.past.full = true })
	once("takes the engine away", m.away, func(s *state) bool { return !s.past.away }, func(s *state) { s.past.away = true })
	once("restarts the container, and harms it", m.foreign,
		func(s *state) bool { return !s.world[0].successor && !s.world[0].asked },
		func(s *state) { s.world[0].successor, s.world[0].theirs, s.world[0].harm = true, true, false })
	return all
}

// cutPower ends every process and whatever the kernel held; what was written and
// not synced may be lost.
func (m *model) cutPower(s *state, keeps bool) {
	s.past.lost = true
	for _, v := range m.victims() {
		if l := v.life(s); *l != unborn {
			*l = killed
			s.die(v.me)
		}
	}
	for i := range s.world {
		s.world[i].asked = false
	}
	if b := &s.book; !keeps {
		for i := range b.intent {
			if b.intent[i] == written {
				b.intent[i] = 0
			}
			b.undone[i] = false
		}
		if b.roll == written {
			b.roll = 0
		}
		if b.rolling == written {
			b.rolling = 0
		}
		if b.rolled == written {
			b.rolled = 0
		}
	}
}

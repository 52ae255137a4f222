package crash

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A site takes the traffic of every trial, and the calls of their rollbacks.
type site struct {
	url string

	mu     sync.Mutex
	rolled map[string]int // by trial
}

func newSite() (*site, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &site{url: "http://" + l.Addr().String(), rolled: map[string]int{}}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/teapot" {
				w.WriteHeader(http.StatusTeapot)
			}
			if id, ok := strings.CutPrefix(r.URL.Path, "/rolled/"); ok {
				s.mu.Lock()
				s.rolled[id]++
				s.mu.Unlock()
			}
		}))
	}()
	return s, nil
}

// check compares how often a trial's rollback has run with what it must.
func (s *site) check(t *trial) error {
	s.mu.Lock()
	n := s.rolled[t.id]
	s.mu.Unlock()
	// A rollback whose supervisor was lost before it had told of its end runs
	// again, as does one that has lost its worker. The loss of an agent does not
	// make it run twice in a run, which starts another; a recover has one, and
	// fails with it: what it had run and not put on record is the next one's.
	again, cut := false, []who{supervisor, worker}
	if t.stage == "recover" {
		cut = append(cut, agent)
	}
	for _, w := range cut {
		h, struck := t.blow[w]
		again = again || struck && h != starve
	}
	switch {
	case n == 0 && t.mine:
		return fmt.Errorf("the rollback was registered before the harm, and never ran")
	case n > 1 && !again:
		return fmt.Errorf("the rollback ran %d times, and nothing had cut it off", n)
	}
	return nil
}

// declarations are what every script of a trial says first.
func (s *site) declarations(t *trial) string {
	return fmt.Sprintf(`
hypothesis("whatever dies, it comes back")
blast_radius(targets = [%q, %q], duration = "40s")
steady_state(baseline = "300ms", within = "60s")
load_ = traffic("%s/", arrivals = "20/s", timeout = "5s")
availability = slo("availability", load_.success, min = 0.2, recovers_within = "10s")
abort_if(availability, below = 0.1, lasting = "20s")
`, t.targets[0].Name, t.targets[1].Name, s.url)
}

// script writes the experiment: one fault that the script ends, and one that
// ends with the run, or after a while.
func (s *site) script(t *trial) string {
	second := t.second.inject(t.targets[1].Name, t.targets[0].Name)
	if t.timed && !t.second.once {
		second = strings.TrimSuffix(second, ")") + `, duration = "250ms")`
	}
	return write(t, "exp.star", fmt.Sprintf(`%s
def mend(url):
    r = http(url, timeout = "10s")

def method():
    rollback(mend, %q)
    first = %s
    observe("300ms")
    second = %s
    observe("200ms")
    first.undo()
    observe("200ms")
`, s.declarations(t), s.url+"/rolled/"+t.id, t.first.inject(t.targets[0].Name, t.targets[1].Name), second))
}

// next writes the next run: it harms something of its own, and fails soon. Its
// rehearsal, to which every answer is 200, does not.
func (s *site) next(t *trial) string {
	return write(t, "next.star", fmt.Sprintf(`%s
def method():
    pause(%q)
    observe("50ms")
    if http(%q).status == 418:
        fail("that is enough")
`, s.declarations(t), t.targets[0].Name, s.url+"/teapot"))
}

func write(t *trial, name, text string) string {
	path := filepath.Join(t.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		panic(err) // a folder of our own that is gone
	}
	return path
}

package crash

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
)

// A meeting is a process that stands at a step and waits for our answer.
type meeting struct {
	step string
	pid  int
	conn net.Conn
}

// answer lets it go on; it may be dead.
func (m meeting) answer() { _ = m.conn.Close() }

// A door is where processes of a trial meet us.
type door struct {
	path   string
	listen net.Listener
	met    chan meeting

	mu   sync.Mutex
	open []meeting
	shut bool
}

func newDoor(state, name string) (*door, error) {
	d := &door{path: filepath.Join(state, name), met: make(chan meeting, 100)}
	var err error
	if d.listen, err = net.Listen("unix", d.path); err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := d.listen.Accept()
			if err != nil {
				return
			}
			go d.greet(c)
		}
	}()
	return d, nil
}

func (d *door) greet(c net.Conn) {
	m := meeting{conn: c}
	line, err := bufio.NewReader(c).ReadString('\n')
	if _, scan := fmt.Sscan(strings.TrimSpace(line), &m.step, &m.pid); err != nil || scan != nil {
		m.answer()
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		m.answer()
		return
	}
	d.open = append(d.open, m)
	d.met <- m
}

// close answers whoever waits, and lets everybody pass from now on.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	_ = d.listen.Close() // twice is fine
	for _, m := range d.open {
		m.answer()
	}
}

// failpoint is the environment that sends a process to the door at the steps.
func (d *door) failpoint(steps ...string) string {
	return "RUNNER_FAILPOINT=" + strings.Join(steps, ",") + ":meet:" + d.path
}

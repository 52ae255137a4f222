package cage

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// world is what a hostile worker may harm. The test makes a new one for each
// attempt and looks at it afterwards; the worker gets its addresses.
type world struct {
	Dir      string // anyone may write here
	Public   string // a file that anyone may read and write
	Secret   string // a file that only its owner may read
	Victim   int    // pid of a process of the test's user
	Parent   int    // pid of the test
	Group    int    // its process group
	TCP, UDP string // addresses that are listened to
	Unix     string // path of a socket that anyone may connect to
	Abstract string

	visits  atomic.Int64 // that the sockets have seen
	signals chan os.Signal
	victim  *Child
}

const publicText = "as it was"

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "cage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH) // the control of one attempt mounts
		_ = os.RemoveAll(dir)
	})
	w := &world{
		Dir: dir, Public: filepath.Join(dir, "public"), Secret: filepath.Join(dir, "secret"),
		Parent: os.Getpid(), Group: syscall.Getpgrp(), Unix: filepath.Join(dir, "socket"), Abstract: "@" + filepath.Base(dir),
		signals: make(chan os.Signal, 8),
	}
	for path, mode := range map[string]os.FileMode{w.Public: 0o666, w.Secret: 0o600, dir: 0o777} {
		if path != dir {
			if err := os.WriteFile(path, []byte(publicText), mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	w.listen(t)
	signal.Notify(w.signals, syscall.SIGUSR1)
	t.Cleanup(func() { signal.Stop(w.signals) })

	w.victim = play(t, Options{}, "victim")
	hear[string](t, w.victim)
	w.Victim = w.victim.Pid()
	return w
}

func (w *world) listen(t *testing.T) {
	t.Helper()
	for _, l := range []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"unix", w.Unix}, {"unix", w.Abstract}} {
		on, err := net.Listen(l.network, l.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = on.Close() })
		if l.network == "tcp" {
			w.TCP = on.Addr().String()
		}
		go func() {
			for {
				c, err := on.Accept()
				if err != nil {
					return
				}
				w.visits.Add(1)
				_ = c.Close()
			}
		}()
	}
	if err := os.Chmod(w.Unix, 0o777); err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = packets.Close() })
	w.UDP = packets.LocalAddr().String()
	go func() {
		for {
			if _, _, err := packets.ReadFrom(make([]byte, 64)); err != nil {
				return
			}
			w.visits.Add(1)
		}
	}()
}

func (w *world) words(t testing.TB) string {
	t.Helper()
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// harm says what is not as it was; "" if all is.
func (w *world) harm(child int) string {
	var found []string
	note := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	entries, err := os.ReadDir(w.Dir)
	if err != nil {
		note("the folder: %v", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "public secret socket" {
		note("the folder holds %q", got)
	}
	if b, err := os.ReadFile(w.Public); err != nil || string(b) != publicText {
		note("the public file holds %q (%v)", b, err)
	}
	if st, err := os.Stat(w.Public); err != nil || st.Mode().Perm() != 0o666 {
		note("the public file's mode: %v (%v)", st, err)
	}
	if st, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.Victim)); err != nil {
		note("the victim: %v", err)
	} else if _, rest, _ := strings.Cut(string(st), ") "); !strings.Contains("SR", rest[:1]) {
		note("the victim's state is %s", rest[:1])
	}
	if n := w.visits.Load(); n > 0 {
		note("%d visits to the sockets", n)
	}
	select {
	case sig := <-w.signals:
		note("the parent got %v", sig)
	case <-time.After(time.Millisecond):
	}
	if kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", child, child)); err == nil && len(kids) > 0 {
		note("the worker has children: %s", kids)
	}
	return strings.Join(found, "; ")
}

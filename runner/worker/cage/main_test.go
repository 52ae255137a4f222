package cage

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The test binary plays the worker: started as "cage.test play ROLE ARGS…" it
// does what the role says, most often after Enter, and never runs a test.
var roles = map[string]func(args []string){
	"attempt": playAttempt, // RINGS NAME WORLD
	"threads": playThreads, // RINGS
	"work":    playWork,    // NAME
	"early":   playEarly,   // a timer, Enter, and timers
	"echo":    playEcho,    // lines, until stdin ends
	"sleep":   playSleep,   // for 200 ms
	"orphan":  playOrphan,  // DOING
	"die":     playDie,     // NAME
	"idle":    playIdle,    // RINGS
	"bare":    playBare,    //
	"parent":  playParent,  // CHILD'S ARGS…
	"victim":  playVictim,  //
	"litter":  playLitter,  // leaves a process behind that holds its pipes
	"deaf":    playDeaf,    // ignores SIGTERM
	"chatter": playChatter, // writes a lot, then dies
	"alone":   playAlone,   // Enter with whatever the environment says
	"bench":   playBench,   // Enter, timed
}

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "play" {
		roles[os.Args[2]](os.Args[3:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// allRings asks for the whole cage.
const allRings = "all"

// enterAs enters with the rings named, comma-separated, and all or none.
func enterAs(names string) ([]string, error) {
	wanted := strings.Split(names, ",")
	return enter(Options{}, func(name string) bool { return names == allRings || slices.Contains(wanted, name) })
}

// mustEnter enters the whole cage, or any part that a test asks for.
func mustEnter(names string) []string {
	active, err := enterAs(names)
	if err != nil && names == allRings {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(10)
	}
	return active
}

// say answers the test: one JSON value a line.
func say(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		os.Exit(11)
	}
}

// linger waits for the test to close stdin.
func linger() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{os.Stdin}) }

func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// play starts a role and ends it with the test.
func play(t testing.TB, o Options, role string, args ...string) *Child {
	t.Helper()
	c, err := Start(o, self(t), append([]string{"play", role}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.End(0)
		_ = c.Stdout.Close()
	})
	return c
}

// hear reads what the role says next.
func hear[T any](t testing.TB, c *Child) T {
	t.Helper()
	v, err := tryHear[T](c)
	if err != nil {
		t.Fatalf("%v; the child %v\n%s", err, c.End(time.Second), c.Stderr())
	}
	return v
}

func tryHear[T any](c *Child) (v T, err error) {
	_ = c.Stdout.SetReadDeadline(time.Now().Add(60 * time.Second))
	line, err := readLine(c.Stdout)
	if err != nil {
		return v, fmt.Errorf("read an answer: %w", err)
	}
	return v, json.Unmarshal(line, &v)
}

// readLine reads no further than the line.
func readLine(r io.Reader) ([]byte, error) {
	var line []byte
	one := make([]byte, 1)
	for {
		if _, err := io.ReadFull(r, one); err != nil {
			return line, err
		}
		if one[0] == '\n' {
			return line, nil
		}
		line = append(line, one[0])
	}
}

// needRoot skips where root is needed, but not in CI, where it must be there.
func needRoot(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs root (%s), and CI must have it", why)
	}
	t.Skipf("needs root: %s", why)
}

// filtered says whether the test itself is in a cage, such as a container's: it
// then cannot do all that it tries to show the worker cannot.
func filtered(t testing.TB) bool { return status(t, "/proc/self/status")["Seccomp"] != "0" }

func playIdle(args []string) {
	active := mustEnter(args[0])
	say(active)
	linger()
}

func playBare([]string) {
	say("ready")
	linger()
}

func playVictim([]string) {
	say("alive")
	time.Sleep(time.Hour)
}

func playAlone([]string) {
	_, err := Enter(Options{})
	if err != nil {
		say(err.Error())
		return
	}
	say("entered")
}

// status is what /proc says of a task.
func status(t testing.TB, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		m[name] = strings.TrimSpace(value)
	}
	return m
}

package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault"
	"chaosrunner/runner/protocol"
)

func create(t testing.TB, dir, run string) *Ledger {
	t.Helper()
	l, err := Create(dir, Header{Run: run, Engine: "E", Began: time.Now(), Experiment: protocol.RunHeader{Name: "exp1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func anIntent(id string) Intent {
	return Intent{
		ID: id, Kind: "kill", Target: fault.Target{Name: "catalog", ID: strings.Repeat("3f", 32)},
		Fault: json.RawMessage(`{"stays_down":true}`), Mend: "docker start catalog", At: time.Now(),
	}
}

func result(id, failure string) protocol.UndoResult {
	return protocol.UndoResult{ID: id, Kind: "kill", Reason: "eof", Error: failure}
}

func TestLedger(t *testing.T) {
	dir := t.TempDir()
	l := create(t, dir, "r1")
	must(t, l.Intent(anIntent("f1")), l.Applied("f1"), l.Intent(anIntent("f2")), l.Applied("f2"), l.Intent(anIntent("f3")),
		l.Rollback(json.RawMessage(`{"id":"r1"}`)), l.Rollback(json.RawMessage(`{"id":"r2"}`)), l.Rollback(json.RawMessage(`{"id":"r3"}`)),
		l.Rolling("r1"), l.Rolled("r1", ""), l.Rolling("r3"), l.Rolling("r1"), // late: it has run
		l.Undoing("f2"), l.Undone(result("f2", "")), l.Undoing("f1"), l.Undone(result("f1", "port is taken")), l.Closed("eof"))
	c, alive, err := Read(l.Path())
	must(t, err)
	if !alive || c.Header.Run != "r1" || c.Header.Experiment.Name != "exp1" || len(c.Faults) != 3 || c.Closed != "eof" || c.Damage != "" {
		t.Errorf("got %+v, alive %v", c, alive)
	}
	f1, f2, f3 := c.Faults[0], c.Faults[1], c.Faults[2]
	if !f1.Applied || !f1.Undoing || f1.Undone || f1.Result.Error != "port is taken" || !f2.Undone || f3.Applied || f3.Undoing {
		t.Errorf("got %+v", c.Faults)
	}
	if in := c.In(); len(in) != 2 || in[0].Intent.ID != "f1" || in[1].Intent.ID != "f3" {
		t.Errorf("got %+v in", in)
	}
	if len(c.Rollbacks) != 2 || !c.Pending("r2") || !c.Pending("r3") || c.Pending("r1") || len(c.Begun) != 1 || c.Begun[0] != "r3" {
		t.Errorf("got rollbacks %s, begun %v", c.Rollbacks, c.Begun)
	}
	if _, _, err := Open(l.Path()); !errors.Is(err, ErrAlive) {
		t.Errorf("got %v of a live ledger", err)
	}
	if _, err := Create(dir, Header{Run: "r1"}); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v for a second ledger of one run", err)
	}
	must(t, l.Close())
	if err := l.Intent(anIntent("f9")); err == nil {
		t.Error("an intent was written to a closed ledger")
	}
	again, c, err := Open(l.Path())
	must(t, err)
	must(t, again.Undone(result("f1", "")), again.Undone(result("f3", "")), again.Reported())
	must(t, again.Close())
	c, alive, err = Read(l.Path())
	must(t, err)
	if alive || len(c.In()) != 0 || !c.Reported || c.Damage != "" {
		t.Errorf("got %+v, alive %v", c, alive)
	}
	again, _, err = Open(l.Path())
	must(t, err)
	must(t, again.Remove(), again.Remove(), again.Close())
	if _, _, err := Open(l.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v of a ledger that was removed", err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestRunNames(t *testing.T) {
	for _, run := range []string{"", "../x", "a/b", ".hidden", "-x", "a b", strings.Repeat("x", 129)} {
		if _, err := Create(t.TempDir(), Header{Run: run}); err == nil || !strings.Contains(err.Error(), "want letters") {
			t.Errorf("%q: got %v", run, err)
		}
	}
	if got := Dir("/s", "7XTJ:../a b"); got != "/s/7XTJ-..-a-b" {
		t.Errorf("got %s", got)
	}
	if got := Dir("", "x"); got != Default+"/x" {
		t.Errorf("got %s", got)
	}
}

// bytesOf is a ledger as it lies on disk, and where its records end.
func bytesOf(t testing.TB) (raw []byte, ends []int) {
	t.Helper()
	l := create(t, t.TempDir(), "r1")
	must(t, l.Intent(anIntent("f1")), l.Applied("f1"), l.Intent(anIntent("f2")), l.Undoing("f1"), l.Undone(result("f1", "")),
		l.Rollback(json.RawMessage(`{"id":"r1","sources":{"x":"deadbeef 00000002 {}\n"}}`)))
	raw, err := os.ReadFile(l.Path())
	must(t, err)
	raw = bytes.TrimRight(raw, "\x00") // room that was set aside
	for i, b := range raw {
		if b == '\n' {
			ends = append(ends, i)
		}
	}
	return raw, ends
}

// Wherever a crash has cut a ledger off, every whole record is read.
func TestTruncatedAtEveryByte(t *testing.T) {
	raw, ends := bytesOf(t)
	for n := 0; n <= len(raw); n++ {
		want := 0
		for _, end := range ends {
			if end <= n {
				want++
			}
		}
		got, damage := parse(raw[:n])
		if len(got) != want {
			t.Fatalf("cut at %d of %d: got %d records, want %d", n, len(raw), len(got), want)
		}
		clean := n == 0
		for _, end := range ends {
			clean = clean || n == end || n == end+1
		}
		if clean != (len(damage) == 0) {
			t.Fatalf("cut at %d: got damage %q", n, damage)
		}
	}
}

// Whatever single bit is flipped, only its own record is lost, and that is told.
func TestEveryBitFlipped(t *testing.T) {
	raw, ends := bytesOf(t)
	whole, _ := parse(raw)
	for at := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[at] ^= 1 << bit
			got, damage := parse(bad)
			want := len(whole) - 1
			for _, end := range ends {
				if at == end { // between two records
					want = len(whole)
				}
			}
			if len(got) != want {
				t.Fatalf("byte %d, bit %d: got %d records, want %d", at, bit, len(got), want)
			}
			if len(damage) == 0 {
				t.Fatalf("byte %d, bit %d: no damage is told", at, bit)
			}
		}
	}
}

// A torn record is followed by others when a ledger is opened again.
func TestAppendAfterTornRecord(t *testing.T) {
	l := create(t, t.TempDir(), "r1")
	must(t, l.Intent(anIntent("f1")), l.Close())
	raw, err := os.ReadFile(l.Path())
	must(t, err)
	raw = bytes.TrimRight(raw, "\x00")
	must(t, os.WriteFile(l.Path(), append(raw, raw[:40]...), 0o600))
	l, c, err := Open(l.Path())
	must(t, err)
	if len(c.In()) != 1 || !strings.Contains(c.Damage, "its last 40 bytes") {
		t.Errorf("got %+v", c)
	}
	must(t, l.Undone(result("f1", "")))
	c, _, err = Read(l.Path())
	must(t, err)
	if len(c.In()) != 0 || !strings.Contains(c.Damage, "40 bytes at offset") {
		t.Errorf("got %+v", c)
	}
}

// A record that a hanging disk has taken late changes nothing.
func TestLateRecord(t *testing.T) {
	l := create(t, t.TempDir(), "r1")
	must(t, l.Intent(anIntent("f1")), l.Undone(result("f1", "")), l.Undone(result("f1", "stuck")), l.Undoing("f1"))
	c, _, err := Read(l.Path())
	must(t, err)
	if len(c.In()) != 0 || c.Faults[0].Result.Error != "" {
		t.Errorf("got %+v", c.Faults)
	}
}

func TestLostIntentIsTold(t *testing.T) {
	l := create(t, t.TempDir(), "r1")
	must(t, l.Applied("f1"))
	c, _, err := Read(l.Path())
	must(t, err)
	if !strings.Contains(c.Damage, `the intent of fault "f1" is lost`) {
		t.Errorf("got %q", c.Damage)
	}
}

// With the disk full to the last byte, all that follows an intent finds room.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, size := range []string{"64k", "256k"} {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
			t.Skipf("mount: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		l := create(t, dir, "r1")
		n := 0
		var err error
		for err == nil {
			if err = l.Intent(anIntent(fmt.Sprint("f", n))); err == nil {
				n++
			}
		}
		if !errors.Is(err, unix.ENOSPC) || n == 0 {
			t.Fatalf("%s: got %v after %d intents", size, err, n)
		}
		f, err := os.Create(dir + "/ballast")
		must(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		must(t, f.Close())
		long := strings.Repeat("a long story ", 1000)
		for i := range n {
			id := fmt.Sprint("f", i)
			must(t, l.Applied(id), l.Undoing(id), l.Undone(result(id, long)), l.Undoing(id), l.Undone(result(id, "")))
		}
		must(t, l.Closed(long), l.Reported())
		c, _, err := Read(l.Path())
		must(t, err)
		if len(c.Faults) != n || len(c.In()) != 0 || c.Damage != "" {
			t.Errorf("%s: got %d faults, %d in, damage %q, want %d", size, len(c.Faults), len(c.In()), c.Damage, n)
		}
		must(t, l.Remove())
	}
}

// After a failed fsync nothing more is promised.
func TestBrokenDisk(t *testing.T) {
	l := create(t, t.TempDir(), "r1")
	l.broken = unix.EIO
	if err := l.Intent(anIntent("f1")); !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "nothing was injected") {
		t.Errorf("got %v", err)
	}
}

// A disk that hangs keeps no undo waiting.
func TestHangingDisk(t *testing.T) {
	l := create(t, t.TempDir(), "r1")
	must(t, l.Intent(anIntent("f1")))
	l.mu.Lock() // as while an fsync hangs
	if err := l.Undoing("f1"); err == nil || !strings.Contains(err.Error(), "has not taken it") {
		t.Errorf("got %v", err)
	}
	l.mu.Unlock()
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		c, _, err := Read(l.Path())
		must(t, err)
		if c.Faults[0].Undoing {
			break
		}
		if time.Now().After(until) {
			t.Fatal("what was late is lost")
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	l, err := TakeLock(dir, Holder{Run: "r1", PID: 7, Began: time.Now().Add(-time.Minute)}, false)
	must(t, err)
	for _, shared := range []bool{false, true} {
		_, err = TakeLock(dir, Holder{Run: "r2"}, shared)
		var busy *BusyError
		if !errors.As(err, &busy) || busy.Holders[0].Run != "r1" || !strings.Contains(err.Error(), "pid 7, for 1m0s") || !strings.Contains(err.Error(), "runner stop r1") {
			t.Errorf("shared %v: got %v", shared, err)
		}
	}
	must(t, l.Release())
	l, err = TakeLock(dir, Holder{Run: "r2"}, false)
	must(t, err, l.Release())
	must(t, (*Lock)(nil).Release())
}

// Runs that share an engine are together in it; who wants it alone is told of
// all of them, and of nobody who had it before.
func TestSharedLock(t *testing.T) {
	dir := t.TempDir()
	line, err := json.Marshal(Holder{Run: "killed"})
	must(t, err, os.WriteFile(dir+"/lock", line, 0o600))
	must(t, os.WriteFile(dir+"/.new-123", []byte("x"), 0o600)) // perhaps another's, at it right now
	var locks []*Lock
	for _, run := range []string{"r1", "r2"} {
		l, err := TakeLock(dir, Holder{Run: run}, true)
		must(t, err)
		create(t, dir, run)
		locks = append(locks, l)
	}
	if _, err := os.Stat(dir + "/.new-123"); err != nil {
		t.Error("a shared lock is no leave to sweep")
	}
	_, err = TakeLock(dir, Holder{Run: "r3"}, false)
	if err == nil || !strings.Contains(err.Error(), "run r1 ") || !strings.Contains(err.Error(), "run r2 ") || !strings.Contains(err.Error(), "share this engine") || strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
	must(t, locks[0].Release())
	if _, err = TakeLock(dir, Holder{Run: "r3"}, false); err == nil {
		t.Error("it was given away under r2")
	}
	must(t, locks[1].Release())
	l, err := TakeLock(dir, Holder{Run: "r3"}, false)
	must(t, err, l.Release())
}

// One at a time has a target, and its file goes with the last.
func TestTargetLock(t *testing.T) {
	dir := t.TempDir()
	l, err := TakeTarget(dir, "abc", "container web", Holder{Run: "r1", PID: 7, Began: time.Now()})
	must(t, err)
	_, err = TakeTarget(dir, "abc", "container web", Holder{Run: "r2"})
	var busy *BusyError
	if !errors.As(err, &busy) || !strings.Contains(err.Error(), "run r1 (agent pid 7, for 0s) holds container web") {
		t.Errorf("got %v", err)
	}
	other, err := TakeTarget(dir, "abd", "container api", Holder{Run: "r2"})
	must(t, err, other.Release(), l.Release())
	if left, _ := filepath.Glob(dir + "/target-*"); len(left) != 0 {
		t.Errorf("left %v", left)
	}

	var inside, most atomic.Int32
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := 0; n < 50; {
				l, err := TakeTarget(dir, "abc", "container web", Holder{Run: fmt.Sprint("r", i)})
				if err != nil {
					continue
				}
				n++
				most.Store(max(most.Load(), inside.Add(1)))
				inside.Add(-1)
				if err := l.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d had it at once", most.Load())
	}
}

// Ledgers appear whole and locked: nobody ever sees one that looks dead while
// its agent makes it.
func TestCreateIsNeverSeenDead(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				paths, _ := List(dir)
				for _, p := range paths {
					l, c, err := Open(p)
					if err == nil {
						t.Errorf("took the ledger of a live agent: %+v", c)
						_ = l.Close()
					}
					if c, alive, err := Read(p); err == nil && (!alive || c.Damage != "") {
						// It may have been removed between the opening and the look.
						if _, err := os.Stat(p); err == nil {
							t.Errorf("saw a live ledger as dead: %+v", c)
						}
					}
				}
			}
		})
	}
	for i := range 100 {
		must(t, create(t, dir, fmt.Sprint("run", i)).Remove())
	}
	close(stop)
	all.Wait()
}

// What an agent has left that died while it made its ledger goes away.
func TestHalfMadeLedger(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/.new-123", []byte("x"), 0o600))
	l, err := TakeLock(dir, Holder{Run: "r1"}, false)
	must(t, err, l.Release())
	if left, _ := filepath.Glob(dir + "/.new-*"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func FuzzParse(f *testing.F) {
	raw, _ := bytesOf(f)
	f.Add(raw)
	f.Add([]byte("00000000 00000002 {}\n"))
	f.Add([]byte("deadbeef ffffffff {}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		records, _ := parse(raw)
		_ = replay(raw)
		// Whole records are found between whatever else there is.
		line, err := encode(record{What: applied, ID: "f1"})
		must(t, err)
		got, _ := parse(append(append(bytes.Clone(raw), '\n'), line...))
		if len(got) < 1 || got[len(got)-1].ID != "f1" {
			t.Errorf("the record after %q is lost", raw)
		}
		if len(got) < len(records) {
			t.Errorf("a record more has made %d of %d", len(got), len(records))
		}
	})
}

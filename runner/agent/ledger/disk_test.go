package ledger

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// missing skips a test for what it lacks here, and fails it in CI.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// onExt4 makes a ledger on an ext4 of its own, which lives as long as the
// ledger is open: no path leads there, so that nothing is left to unmount
// whatever becomes of the test.
func onExt4(t testing.TB) *Ledger {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "mounting needs root")
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	must(t, os.WriteFile(image, nil, 0o600), os.Truncate(image, 16<<20), os.Mkdir(at, 0o700))
	for _, args := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			missing(t, "%v: %v\n%s", args, err, out)
		}
	}
	defer func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) }()
	return create(t, at, "r1")
}

// A disk that breaks: no intent is on it, so nothing is injected; and what is
// said of the faults that are in holds no undo up.
func TestDiskBreaks(t *testing.T) {
	l := onExt4(t)
	must(t, l.Intent(anIntent("f1")), l.Applied("f1"))
	const shutdown, withoutLog = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN: every write fails from here on
	if err := unix.IoctlSetPointerInt(int(l.file.Fd()), shutdown, withoutLog); err != nil {
		missing(t, "break the disk: %v", err)
	}
	for range 2 {
		err := l.Intent(anIntent("f2"))
		if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "nothing was injected") {
			t.Errorf("got %v", err)
		}
	}
	if err := l.Rollback(json.RawMessage(`{"id":"r1"}`)); !errors.Is(err, unix.EIO) {
		t.Errorf("got %v of a rollback", err)
	}
	for _, err := range []error{l.Undoing("f1"), l.Undone(result("f1", "")), l.Closed("eof")} {
		if !errors.Is(err, unix.EIO) {
			t.Errorf("got %v: want the disk's own word, and soon", err)
		}
	}
}

// A disk that may only be read has no ledger, and no run begins.
func TestReadOnlyDisk(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		missing(t, "mount: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	for _, err := range []error{
		MakeDir(filepath.Join(dir, "engine")),
		errOf(TakeLock(dir, Holder{Run: "r1"}, false)),
		errOf(Create(dir, Header{Run: "r1"})),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("got %v", err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// However many faults there are, what is said of each of them finds its room
// set aside, and the last intents are as cheap as the first.
func TestRoomAhead(t *testing.T) {
	l := onExt4(t)
	asked := 0
	for i := range 60 {
		before := l.room
		must(t, l.Intent(anIntent("f"+string(rune('0'+i)))))
		if l.room != before {
			asked++
		}
		if want := l.end + perRun + int64(len(l.in))*perFault; l.room < want {
			t.Fatalf("intent %d: got room up to %d, want %d", i, l.room, want)
		}
		size := func() int64 { info, err := l.file.Stat(); must(t, err); return info.Size() }
		if at := size(); at < l.room {
			t.Fatalf("intent %d: the file ends at %d, before the room that was set aside", i, at)
		}
	}
	if asked > 12 { // 20 KiB each, in steps of 128
		t.Errorf("the file system was asked for room %d times", asked)
	}
	c, _, err := (&View{l.path, l.file}).Read()
	must(t, err)
	if len(c.Faults) != 60 || c.Damage != "" {
		t.Errorf("got %d faults, damage %q", len(c.Faults), c.Damage)
	}
}

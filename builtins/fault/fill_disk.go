package fault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
	"unicode"

	"chaosrunner/builtins/fault/ballast"
	"chaosrunner/builtins/fault/mounts"
)

// FillDisk takes room on the file system that a target has at a path.
//
//	used ┤█████████░░░░░░░░░░░░▒▒│   █ the target's   ░ our ballast   ▒ left   │ kept for root
//	     0                     Use%
//
// The ballast is a file without a name: it is gone with the agent. Where the
// file system has none such it is a file that the ledger names.
type FillDisk struct {
	Path string `json:"path"`
	// Exactly one of these is given.
	Percent float64 `json:"percent,omitempty"` // 0..1, used afterwards of what the target can use
	Size    int64   `json:"size,omitempty"`    // of the ballast, in bytes
	Leave   int64   `json:"leave,omitempty"`   // bytes that the target is left

	Hold          string `json:"hold,omitempty"` // "auto" when empty, "kernel" or "file"
	KeepFull      bool   `json:"keep_full"`
	AllowHostDisk bool   `json:"allow_host_disk,omitempty"`
}

// Validate implements [Params].
func (f *FillDisk) Validate() error {
	given := 0
	for _, is := range []bool{f.Percent != 0, f.Size != 0, f.Leave != 0} {
		if is {
			given++
		}
	}
	if f.Hold == "" {
		f.Hold = ballast.Auto
	}
	switch {
	case given != 1:
		return fmt.Errorf("percent, size, leave: got %d of them, want exactly one", given)
	case f.Percent < 0 || f.Percent > 1:
		return fmt.Errorf("percent: got %g, want more than 0 and at most 1", f.Percent)
	case f.Size < 0 || f.Leave < 0:
		return fmt.Errorf("size, leave: got a number below 0")
	case f.Hold != ballast.Auto && f.Hold != ballast.Kernel && f.Hold != ballast.File:
		return fmt.Errorf("hold: got %q, want auto, kernel or file", f.Hold)
	}
	return absolute(f.Path)
}

const pathMax = 4096 // the kernel's

// absolute refuses what is no path, and what would do harm where it is shown.
func absolute(where string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if path.IsAbs(where) && len(where) < pathMax && !strings.ContainsFunc(where, odd) {
		return nil
	}
	return fmt.Errorf("path: got %.100q, want an absolute path in the container such as \"/var/lib/postgresql/data\"", where)
}

type fillDisk struct {
	FillDisk
	spot
	Take int64  `json:"take"` // bytes, as it stood when Prepare looked
	Name string `json:"name"` // of the ballast, where it must have one

	standing
	ballast *ballast.Ballast // nil: this process holds none
}

func (f *fillDisk) Params() Params { return &f.FillDisk }

func (f *fillDisk) Prepare(ctx context.Context, w World, t Target) error {
	_, dir, err := f.lookAt(ctx, w, t, f.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := f.fits(); err != nil {
		return err
	}
	f.Name = ".runner-ballast-" + strings.ToLower(rand.Text())
	return f.guard(ctx, w, dir, f.Take, f.AllowHostDisk)
}

// leave is what the target is left; below zero: what there is beside a ballast
// of a size of its own.
func (f *fillDisk) leave() int64 {
	switch {
	case f.Percent > 0:
		return f.Before.LeaveFor(f.Percent)
	case f.Leave > 0:
		return f.Leave
	}
	return -1
}

// fits refuses what there is no room for.
func (f *fillDisk) fits() error {
	u := f.Before
	f.Take = f.Size
	if f.Size == 0 {
		f.Take = u.Avail - f.leave()
	}
	switch {
	case f.Size > u.Avail:
		return refuse("size: got %s, and only %s are free at %s of %s: use percent = \"100%%\" to fill it", size(f.Size), size(u.Avail), f.Path, f.Target.Name)
	case f.Take <= 0 && f.Percent > 0:
		return refuse("percent: got %.4g %%, and %s of %s is at %.4g %% already", 100*f.Percent, f.Path, f.Target.Name, 100*u.Used())
	case f.Take <= 0:
		return refuse("leave: got %s, and only %s are free at %s of %s", size(f.Leave), size(u.Avail), f.Path, f.Target.Name)
	}
	return nil
}

func (f *fillDisk) Apply(ctx context.Context, w World) error {
	if err := f.stand(ctx, w, &f.spot, f.Path); err != nil {
		return err
	}
	hold := f.Hold
	if f.nameless() {
		hold = ballast.Kernel
	}
	spec := ballast.Spec{
		Dir: f.dir.FD, Name: f.Name, Hold: hold, Size: -1, Leave: f.leave(), Root: f.Root, Keep: f.KeepFull,
		Tell: func(text string) { w.tell("%s", text) },
	}
	if f.Size > 0 {
		spec.Size = f.Size
	}
	f.ballast = ballast.New(spec)
	if err := f.ballast.Fill(ctx); err != nil {
		return err
	}
	u, err := f.seen(f.root, f.Path)
	if err != nil {
		return err
	}
	if slack := max(4<<20, u.Size/50); spec.Size < 0 && u.Avail > spec.Leave+slack {
		return fmt.Errorf("%s of %s still has %s free, want %s", f.Path, f.Target.Name, size(u.Avail), size(spec.Leave))
	}
	taken := f.ballast.Bytes()
	held := "held by the kernel"
	if f.ballast.Named() {
		held = "in " + path.Join(f.Path, f.Name)
	}
	f.note("%s of %s is at %.4g %%, %s free (before: %.4g %%, %s free); the ballast is %s, %s", f.Path, f.Target.Name,
		100*u.Used(), size(u.Avail), 100*f.Before.Used(), size(f.Before.Avail), size(taken), held)
	f.figures(u, taken)
	f.watchOver(ctx, w, &f.spot, f.Path, f.ballast.Lost())
	return nil
}

// Undo lets the ballast go. In another process than the one that held it, only
// a file is left to be removed.
func (f *fillDisk) Undo(ctx context.Context, w World, _ Past) (string, error) {
	switch {
	case f.ballast != nil:
		return f.release()
	case f.nameless():
		return "the kernel has freed it with the process that held it", nil
	}
	return f.unlink(ctx, w, f.Path, f.Name, removeFile)
}

func (f *fillDisk) nameless() bool { return f.Hold != ballast.File && nameless[f.Type] }

// nameless has the file systems that are known to have files without a name.
// On others it is tried, and what has a name is looked for in the undo.
var nameless = map[string]bool{"btrfs": true, "ext2": true, "ext3": true, "ext4": true, "f2fs": true, "tmpfs": true, "xfs": true}

func (f *fillDisk) release() (string, error) {
	f.unwatch()
	full, err := mounts.UsageOf(f.dir.FD)
	taken := f.ballast.Bytes()
	f.ballast.Close()
	if f.ballast.Named() {
		if e := removeFile(f.dir.FD, f.Name); e != nil && !errors.Is(e, fs.ErrNotExist) {
			return "", e // the next attempt has the folder still
		}
	}
	if err == nil {
		f.freed(full, taken)
	}
	f.leaveIt()
	f.ballast = nil
	return "", nil
}

// freed measures that the room is back. A file system may free what it was told
// to with its next commit.
func (f *fillDisk) freed(full mounts.Usage, taken int64) {
	if f.Type == "btrfs" {
		commit(f.dir.FD)
	}
	now := full
	for until := time.Now().Add(3 * time.Second); now.Free-full.Free < taken*9/10 && time.Now().Before(until); {
		u, err := mounts.UsageOf(f.dir.FD)
		if err != nil {
			return
		}
		if now = u; now.Free-full.Free < taken*9/10 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	times, bytes := f.ballast.Refills()
	now = now.For(f.Root)
	f.note("%s of %s has %s free again (before the fault: %s): a ballast of %s is gone, and %s were written meanwhile; refilled %d times, %s",
		f.Path, f.Target.Name, size(now.Avail), size(f.Before.Avail), size(taken), size(max(0, f.Before.Avail-now.Avail)), times, size(bytes))
	f.figures(now, 0)
}

func (f *fillDisk) figures(u mounts.Usage, taken int64) {
	f.told[len(f.told)-1].Figures = map[string]float64{"used_share": u.Used(), "available_bytes": float64(u.Avail), "ballast_bytes": float64(taken)}
}

// Describe implements [Fault].
func (f *fillDisk) Describe() Words {
	used := f.Before
	used.Free, used.Avail = used.Free-f.Take, used.Avail-f.Take
	words := Words{
		Harm: fmt.Sprintf("take %s of %s of %s (%s %s): %.4g %% used instead of %.4g %%", size(f.Take), f.Path, called(f.Target),
			f.Type, f.Device, 100*used.Used(), 100*f.Before.Used()),
		Remedy: "let the ballast go", Held: HeldByKernel,
	}
	if !f.nameless() {
		words.Remedy, words.Held = "remove "+path.Join(f.Path, f.Name), HeldByEngine
	}
	return words
}

// Mend implements [Fault].
func (f *fillDisk) Mend() string {
	if f.nameless() {
		return "runner stop"
	}
	return f.mend("rm", f.Path, f.Name)
}

func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

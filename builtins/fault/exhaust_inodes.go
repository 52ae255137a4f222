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

	"chaosrunner/builtins/fault/ballast"
	"chaosrunner/builtins/fault/mounts"
)

// ExhaustInodes takes files on the file system that a target has at a path, so
// that it can create none though there is room. They are empty, and have no
// name: they are gone with the agent. Where there are too many for that, or the
// file system has none such, they lie in a folder that the ledger names.
type ExhaustInodes struct {
	Path          string  `json:"path"`
	Percent       float64 `json:"percent"`        // 0..1, used afterwards
	Hold          string  `json:"hold,omitempty"` // "auto" when empty, "kernel" or "file"
	KeepFull      bool    `json:"keep_full"`
	AllowHostDisk bool    `json:"allow_host_disk,omitempty"`
}

// Validate implements [Params].
func (e *ExhaustInodes) Validate() error {
	if e.Hold == "" {
		e.Hold = ballast.Auto
	}
	switch {
	case e.Percent <= 0 || e.Percent > 1:
		return fmt.Errorf("percent: got %g, want more than 0 and at most 1", e.Percent)
	case e.Hold != ballast.Auto && e.Hold != ballast.Kernel && e.Hold != ballast.File:
		return fmt.Errorf("hold: got %q, want auto, kernel or file", e.Hold)
	}
	return absolute(e.Path)
}

const (
	openInodes = 200_000   // without a name: each costs the kernel some 2 KiB that cannot be reclaimed
	mostInodes = 2_000_000 // with one, which takes a minute
)

type exhaustInodes struct {
	ExhaustInodes
	spot
	Take  int64  `json:"take"` // files, as it stood when Prepare looked
	Name  string `json:"name"` // of the folder, where they must have one
	Named bool   `json:"named,omitempty"`

	standing
	inodes *ballast.Inodes // nil: this process holds none
}

func (e *exhaustInodes) Params() Params { return &e.ExhaustInodes }

func (e *exhaustInodes) Prepare(ctx context.Context, w World, t Target) error {
	_, dir, err := e.lookAt(ctx, w, t, e.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	u := e.Before
	e.Take = u.FilesFree - u.LeaveFilesFor(e.Percent)
	e.Named = e.Hold == ballast.File || e.Hold == ballast.Auto && (!nameless[e.Type] || e.Take > openInodes)
	most := int64(openInodes)
	if e.Named {
		most = mostInodes
	}
	switch {
	case u.Files == 0 || e.Type == "xfs" || e.Type == "btrfs":
		return refuse("path: %s of %s is on %s, which makes inodes as long as there is room: use fill_disk", e.Path, t.Name, e.Type)
	case e.Take <= 0:
		return refuse("percent: got %.4g %%, and %.4g %% of the inodes at %s of %s are used already", 100*e.Percent, 100*u.FilesUsed(), e.Path, t.Name)
	case e.Take > most:
		return refuse("path: %s of %s has %d inodes to take, want at most %d: give the service a smaller volume (tmpfs: nr_inodes=…; ext4: mkfs.ext4 -N …)",
			e.Path, t.Name, e.Take, most)
	}
	e.Name = ".runner-inodes-" + strings.ToLower(rand.Text())
	return e.guard(ctx, w, dir, 0, e.AllowHostDisk)
}

func (e *exhaustInodes) Apply(ctx context.Context, w World) error {
	if err := e.stand(ctx, w, &e.spot, e.Path); err != nil {
		return err
	}
	spec := ballast.Spec{Dir: e.dir.FD, Name: e.Name, Hold: ballast.Kernel, Leave: e.Before.LeaveFilesFor(e.Percent), Keep: e.KeepFull}
	held := "held by the kernel"
	if e.Named {
		spec.Hold, held = ballast.File, "in "+path.Join(e.Path, e.Name)
	}
	e.inodes = ballast.NewInodes(spec)
	if err := e.inodes.Fill(ctx); err != nil {
		return err
	}
	u, err := e.seen(e.root, e.Path)
	if err != nil {
		return err
	}
	if slack := max(64, u.Files/100); u.FilesFree > spec.Leave+slack {
		return fmt.Errorf("%s of %s still has %d inodes free, want %d", e.Path, e.Target.Name, u.FilesFree, spec.Leave)
	}
	e.note("%s of %s has %d of %d inodes free (before: %d); %d are ours, %s", e.Path, e.Target.Name,
		u.FilesFree, u.Files, e.Before.FilesFree, e.inodes.Files(), held)
	e.figures(u, e.inodes.Files())
	e.watchOver(ctx, w, &e.spot, e.Path, e.inodes.Lost())
	return nil
}

// Undo lets the files go. In another process than the one that held them, only
// a folder is left to be removed.
func (e *exhaustInodes) Undo(ctx context.Context, w World, _ Past) (string, error) {
	switch {
	case e.inodes != nil:
		return "", e.release()
	case !e.Named:
		return "the kernel has freed them with the process that held them", nil
	}
	return e.unlink(ctx, w, e.Path, e.Name, ballast.RemoveFolder)
}

func (e *exhaustInodes) release() error {
	e.unwatch()
	ours := e.inodes.Files()
	e.inodes.Close()
	if e.Named {
		if err := ballast.RemoveFolder(e.dir.FD, e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // the next attempt has the folder still
		}
	}
	full := e.Before.LeaveFilesFor(e.Percent)
	var u mounts.Usage
	var err error
	for until := time.Now().Add(3 * time.Second); err == nil && time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if u, err = mounts.UsageOf(e.dir.FD); u.FilesFree >= full+int64(ours)*9/10 {
			break
		}
	}
	if err == nil {
		e.note("%s of %s has %d of %d inodes free again (before the fault: %d)", e.Path, e.Target.Name, u.FilesFree, u.Files, e.Before.FilesFree)
		e.figures(u, 0)
	}
	e.leaveIt()
	e.inodes = nil
	return nil
}

func (e *exhaustInodes) figures(u mounts.Usage, ours int) {
	e.told[len(e.told)-1].Figures = map[string]float64{"inodes_used_share": u.FilesUsed(), "inodes_free": float64(u.FilesFree), "ballast_inodes": float64(ours)}
}

// Describe implements [Fault].
func (e *exhaustInodes) Describe() Words {
	words := Words{
		Harm:   fmt.Sprintf("take %d of the %d inodes of %s of %s (%s %s)", e.Take, e.Before.Files, e.Path, called(e.Target), e.Type, e.Device),
		Remedy: "let the files go", Held: HeldByKernel,
	}
	if e.Named {
		words.Remedy, words.Held = "remove "+path.Join(e.Path, e.Name), HeldByEngine
	}
	return words
}

// Mend implements [Fault].
func (e *exhaustInodes) Mend() string {
	if !e.Named {
		return "runner stop"
	}
	return e.mend("rm -r", e.Path, e.Name)
}

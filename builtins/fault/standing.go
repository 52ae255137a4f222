package fault

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"chaosrunner/builtins/fault/mounts"
)

// A standing is what this process has of a disk fault that is in: the folder,
// held open, and a watch over it. It is no part of the ledger's record.
type standing struct {
	root *mounts.Root
	dir  *mounts.Dir
	stop context.CancelFunc // nil: nothing watches
	lost chan error
	done sync.WaitGroup
	told []Finding
}

// stand holds the folder that Prepare saw.
func (f *standing) stand(ctx context.Context, w World, s *spot, where string) (err error) {
	f.root, f.dir, err = s.again(ctx, w, where)
	return err
}

// watchOver yields the first of a loss of its own and of the target's.
func (f *standing) watchOver(ctx context.Context, w World, s *spot, where string, own <-chan error) {
	ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	f.lost = make(chan error, 1)
	f.done.Go(func() { s.watch(ctx, w, f.root, where, f.lost) })
	f.done.Go(func() {
		select {
		case err := <-own:
			select {
			case f.lost <- err:
			default:
			}
		case <-ctx.Done():
		}
	})
}

// Lost implements [Fragile].
func (f *standing) Lost() <-chan error { return f.lost }

// unwatch ends the watch.
func (f *standing) unwatch() {
	if f.stop != nil {
		f.stop()
		f.done.Wait()
		f.stop = nil
		close(f.lost)
	}
}

// leaveIt lets the folder go.
func (f *standing) leaveIt() {
	f.dir.Close()
	f.root.Close()
	f.dir, f.root = nil, nil
}

func (f *standing) note(format string, args ...any) {
	f.told = append(f.told, Finding{Text: fmt.Sprintf(format, args...)})
}

// Findings implements [Witness].
func (f *standing) Findings() []Finding {
	told := f.told
	f.told = nil
	return told
}

// commit makes the file system of a folder free what it was told to.
func commit(dir int) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Syncfs(fd) // what cannot be written is not ours
		_ = unix.Close(fd)  // read only
	}
}

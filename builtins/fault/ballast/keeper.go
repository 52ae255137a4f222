package ballast

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A keeper is a thread with a table of open files of its own. The kernel closes
// it with the thread, so that after a SIGKILL of the process as many
// processors as there are keepers free the ballast at once: of one table the
// last thread alone closes file after file.
type keeper struct {
	jobs  chan func()
	ended chan struct{}
}

// newKeeper starts one. Of this process's open files it has dir alone.
func newKeeper(dir int) *keeper {
	k := &keeper{jobs: make(chan func()), ended: make(chan struct{})}
	spare := spared(dir)
	started := make(chan struct{})
	go k.work(spare, started)
	<-started
	return k
}

func (k *keeper) work(spare map[int]bool, started chan struct{}) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The first thread's table is what /proc/PID/fd shows of a process: sit
		// on that thread until another one has been taken.
		go k.work(spare, started)
		<-started
		runtime.UnlockOSThread()
		return
	}
	defer close(k.ended) // and never unlocked: the thread ends with this
	alone(spare)
	close(started)
	for job := range k.jobs {
		job()
	}
}

// do runs a job on the keeper's thread; where there is no keeper, here.
func (k *keeper) do(job func()) {
	if k == nil {
		job()
		return
	}
	done := make(chan struct{})
	k.jobs <- func() { defer close(done); job() }
	<-done
}

// end ends the thread, and waits for that.
func (k *keeper) end() {
	if k == nil {
		return
	}
	close(k.jobs)
	<-k.ended
}

// spared has the files that a keeper's table keeps: the folder, and what the
// runtime's scheduler itself may use on any thread.
func spared(dir int) map[int]bool {
	time.Sleep(time.Microsecond) // a first timer makes the runtime open its own
	keep := map[int]bool{dir: true}
	open, _ := os.ReadDir("/proc/self/fd")
	for _, e := range open {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(to, "anon_inode:[event") {
			keep[fd] = true
		}
	}
	return keep
}

// alone gives the thread a table of its own. Where that is not allowed it goes
// on with the process's.
func alone(spare map[int]bool) {
	if unix.Unshare(unix.CLONE_FILES) != nil {
		return
	}
	// A copy that stayed would keep a lock or a pipe of this process alive after
	// it has closed its own.
	first := uint(0)
	for fd := uint(0); fd <= uint(highest(spare)); fd++ {
		if spare[int(fd)] {
			closeFrom(first, fd)
			first = fd + 1
		}
	}
	closeFrom(first, ^uint(0)>>1)
}

func highest(set map[int]bool) int {
	top := 0
	for fd := range set {
		top = max(top, fd)
	}
	return top
}

// closeFrom closes the files from first on, up to but not with next.
func closeFrom(first, next uint) {
	if first >= next {
		return
	}
	last := min(next-1, 1<<31-1)
	if unix.CloseRange(first, last, 0) == nil {
		return
	}
	for fd := first; fd <= min(last, 1<<16); fd++ { // a kernel before 5.9
		_ = unix.Close(int(fd)) // most are not open
	}
}

// Package uml runs test binaries in a kernel of their own, for what this
// machine's kernel lacks: User-Mode Linux, a kernel that is a program, boots on
// the host's own files within seconds.
//
//	go test ──▶ Boot ──▶ launcher: pid 1 of a new pid namespace
//	                        └─▶ linux.uml ──▶ the guest's init: mounts, modules
//	                                                 └─▶ one test binary after the other
//	go test ◀── Replay ◀── what each printed, in a folder that both can see
//
// All three stages are the same binary: [Stage] stands first in its TestMain.
// The launcher is the init of a pid namespace, so that nothing survives its end,
// and it dies with the thread that started it. The kernel's memory lies in a
// mount that only it sees.
package uml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Kernel is the program that is a kernel.
const Kernel = "linux.uml"

// A Job is one test binary and how to run it.
type Job struct {
	Name    string        // its package
	Binary  string        // absolute
	Dir     string        // where it runs
	Args    []string      // -test.v=test2json …
	Timeout time.Duration // then it must say where it stands, and is killed
}

// A Guest is a kernel with what to run in it.
type Guest struct {
	Dir     string   // shared with the guest; belongs to the caller, who removes it
	Modules []string // below the kernel's modules, without ".ko", in the order of their needs
	Env     []string // of the jobs, beside PATH, HOME and TMPDIR
	Jobs    []Job
	// NoXState keeps the kernel from the extended registers of its processes,
	// see [Oversized].
	NoXState bool
}

// A Result is what became of a job.
type Result struct {
	Output []byte
	Status string // "exit 0", "signal killed"; empty if it never ended
}

const (
	envStage  = "UML_STAGE"
	envDir    = "UML_DIR"
	guestFile = "guest.json"
)

// Boot runs all jobs and returns what became of each. It ends when the guest
// has halted, or when ctx ends.
func (g Guest) Boot(ctx context.Context) ([]Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	whole, err := json.Marshal(g)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(g.Dir, guestFile), whole, 0o600),
		os.MkdirAll(g.private(), 0o700)); err != nil {
		return nil, fmt.Errorf("uml: %w", err)
	}
	console, err := os.Create(filepath.Join(g.Dir, "console"))
	if err != nil {
		return nil, fmt.Errorf("uml: %w", err)
	}
	defer console.Close()

	// The death signal comes when the thread that started the child ends, not
	// the process: the thread must outlive the wait.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = []string{envStage + "=launch", envDir + "=" + g.Dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = cmd.Run()
	results, missing := g.results()
	if err == nil && !missing {
		return results, nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil {
		err = errors.New("it has halted before its last job had ended")
	}
	said, _ := os.ReadFile(console.Name())
	return results, fmt.Errorf("uml: %w; its console:\n%s", err, said)
}

// private is the folder that a mount of the guest's own hides.
func (g Guest) private() string { return filepath.Join(g.Dir, "private") }

func (g Guest) output(i int) string { return filepath.Join(g.Dir, fmt.Sprintf("%d.out", i)) }
func (g Guest) status(i int) string { return filepath.Join(g.Dir, fmt.Sprintf("%d.status", i)) }

func (g Guest) results() (results []Result, missing bool) {
	for i := range g.Jobs {
		output, _ := os.ReadFile(g.output(i)) // an early end leaves none
		status, err := os.ReadFile(g.status(i))
		results = append(results, Result{Output: output, Status: string(status)})
		missing = missing || err != nil
	}
	return results, missing
}

// Stage plays the part that the environment names: launcher or the guest's
// init. It then does not return. It stands first in TestMain.
func Stage() {
	stage := os.Getenv(envStage)
	if stage == "" {
		return
	}
	g, err := load(os.Getenv(envDir))
	if err == nil && stage == "launch" {
		err = g.launch()
	}
	if err == nil && stage == "guest" {
		err = g.init()
	}
	fmt.Fprintf(os.Stderr, "uml: %s: %v\n", stage, err)
	if stage == "guest" {
		halt()
	}
	os.Exit(1)
}

func load(dir string) (Guest, error) {
	var g Guest
	whole, err := os.ReadFile(filepath.Join(dir, guestFile))
	if err == nil {
		err = json.Unmarshal(whole, &g)
	}
	return g, err
}

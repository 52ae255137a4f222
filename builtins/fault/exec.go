package fault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Exec runs a program in a container, and another to take its effect back.
//
//	Apply ──engine: exec──▶ argv     RUNNER_EXEC=token in its environment
//	Undo ── kill what of it still runs, found by the token ──▶ engine: exec ──▶ undo
//
// The undo is run however far the program came, or if it was never begun; what
// the program started and still runs is killed first.
type Exec struct {
	Argv    []string      `json:"argv"`
	Remedy  []string      `json:"undo,omitempty"` // none: killing what still runs is all
	Timeout time.Duration `json:"timeout"`        // of each of them
}

const (
	maxArgv   = 100
	maxArg    = 64 << 10
	maxOutput = 4 << 10 // bytes of what a program says that are kept
	execAsk   = 10 * time.Second
	execMark  = "RUNNER_EXEC="
)

// Validate implements [Params].
func (e *Exec) Validate() error {
	if len(e.Argv) == 0 {
		return fmt.Errorf(`argv: got no program, want one such as ["psql", "-c", "SELECT 1"]`)
	}
	for name, argv := range map[string][]string{"argv": e.Argv, "undo": e.Remedy} {
		size := 0
		for _, a := range argv {
			size += len(a)
			if strings.ContainsRune(a, 0) {
				return fmt.Errorf("%s: got an argument with a zero byte", name)
			}
		}
		if len(argv) > maxArgv || size > maxArg {
			return fmt.Errorf("%s: got %d arguments of %d bytes, want at most %d of %d", name, len(argv), size, maxArgv, maxArg)
		}
		if len(argv) > 0 && argv[0] == "" {
			return fmt.Errorf("%s: got a program without a name", name)
		}
	}
	if e.Timeout <= 0 || e.Timeout > 10*time.Minute {
		return fmt.Errorf("timeout: got %s, want at most 10m", e.Timeout)
	}
	return nil
}

type execer interface {
	ContainerExecCreate(ctx context.Context, id string, o container.ExecOptions) (container.ExecCreateResponse, error)
	ContainerExecAttach(ctx context.Context, exec string, o container.ExecAttachOptions) (types.HijackedResponse, error)
	ContainerExecInspect(ctx context.Context, exec string) (container.ExecInspect, error)
}

type exec struct {
	Exec
	subject
	Token string `json:"token"`

	found []Finding
}

func (e *exec) Params() Params { return &e.Exec }

func (e *exec) Prepare(ctx context.Context, w World, t Target) error {
	if err := w.Allows().Exec(); err != nil {
		return refuse("%v", err)
	}
	if _, err := e.look(ctx, w, t); err != nil {
		return err
	}
	e.Token = rand.Text()
	return nil
}

func (e *exec) Apply(ctx context.Context, w World) error {
	held, _, err := e.grip(ctx, w)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	defer held.close()
	code, said, err := e.run(ctx, w, e.Argv, e.Token)
	if err != nil {
		return errors.Join(err, killMarked(e.Token))
	}
	e.found = append(e.found, Finding{Text: said, Figures: map[string]float64{ExitCode: float64(code)}})
	return nil
}

// ExitCode is the figure of an exec's finding.
const ExitCode = "exit_code"

// Findings implements [Witness].
func (e *exec) Findings() []Finding {
	found := e.found
	e.found = nil
	return found
}

// run runs a program to its end and returns its exit code and the first of
// what it said.
func (e *exec) run(ctx context.Context, w World, argv []string, token string) (code int, said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	name := argv[0]
	made, err := w.Engine.ContainerExecCreate(ctx, e.Target.ID, container.ExecOptions{
		Cmd: argv, AttachStdout: true, AttachStderr: true, Env: []string{execMark + token},
	})
	if err != nil {
		return 0, "", fmt.Errorf("exec %s: %w", name, err)
	}
	link, err := w.Engine.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, "", fmt.Errorf("exec %s: %w", name, err)
	}
	defer link.Close()
	out := &head{most: maxOutput}
	ended := make(chan error, 1)
	go func() {
		_, err := stdcopy.StdCopy(out, out, link.Reader)
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		link.Close()
		<-ended
		return 0, "", fmt.Errorf("exec %s: it has not ended within %v: %w", name, e.Timeout, context.Cause(ctx))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, "", fmt.Errorf("exec %s: %w", name, err)
	}
	for { // its output may end before it does
		seen, err := w.Engine.ContainerExecInspect(ctx, made.ID)
		switch {
		case err != nil:
			return 0, "", fmt.Errorf("exec %s: %w", name, err)
		case !seen.Running:
			said := strings.ToValidUTF8(strings.TrimSpace(out.String()), "\uFFFD")
			if seen.Pid == 0 { // it was never begun, and what was said is the engine's
				return 0, "", fmt.Errorf("exec %s: it cannot be run in %s: %s", name, e.Target.Name, said)
			}
			return seen.ExitCode, said, nil
		case !rest(ctx, 20*time.Millisecond):
			return 0, "", fmt.Errorf("exec %s: it has not ended within %v", name, e.Timeout)
		}
	}
}

func (e *exec) Undo(ctx context.Context, w World, past Past) (string, error) {
	if err := e.reap(ctx, past); err != nil {
		return "", err
	}
	if len(e.Remedy) == 0 {
		return "", nil
	}
	c, err := inspect(ctx, w, e.Target.ID)
	if errdefs.IsNotFound(err) {
		return "the container is gone, and what was run in it too", nil
	}
	if err != nil {
		return "", err
	}
	if !up(c.State) {
		return "", fmt.Errorf("container %s is %s, and its undo cannot be run in it", e.Target.Name, c.State.Status)
	}
	code, said, err := e.run(ctx, w, e.Remedy, "undo-"+e.Token)
	if err != nil {
		return "", errors.Join(err, killMarked("undo-"+e.Token))
	}
	if code != 0 {
		return "", fmt.Errorf("undo %s: got exit code %d, want 0: %s", e.Remedy[0], code, said)
	}
	return "", nil
}

// reap kills what of the program still runs. One whose starter died may yet begin.
func (e *exec) reap(ctx context.Context, past Past) error {
	began := time.Now()
	for {
		if err := killMarked(e.Token); err != nil {
			return err
		}
		if past.Settled || time.Since(began) > 2*time.Second {
			return nil
		}
		if !rest(ctx, poll) {
			return fmt.Errorf("exec: cut short: %w", context.Cause(ctx))
		}
	}
}

func (e *exec) Describe() Words {
	remedy := "kill what of it still runs"
	if len(e.Remedy) > 0 {
		remedy = "run " + shell(e.Remedy) + " in " + e.Target.Name
	}
	return Words{Harm: fmt.Sprintf("run %s in %s", shell(e.Argv), called(e.Target)), Remedy: remedy, Held: HeldByEngine}
}

func (e *exec) Mend() string {
	if len(e.Remedy) == 0 {
		return "docker top " + e.Target.Name
	}
	return "docker exec " + e.Target.Name + " " + shell(e.Remedy)
}

// shell is a command line as one would type it.
func shell(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$`;&|<>()*?[]{}#~!") {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// head keeps the first bytes that are written to it.
type head struct {
	strings.Builder
	most int
}

func (h *head) Write(p []byte) (int, error) {
	h.Builder.Write(p[:min(len(p), max(0, h.most-h.Len()))])
	return len(p), nil
}

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chaosrunner/runner/modules"
	"chaosrunner/runner/protocol"
	"chaosrunner/runner/worker/cage"
)

// The test's own binary is the worker, as runner's is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(Main(os.Stdin, os.Stdout, Options{}))
	}
	os.Exit(m.Run())
}

// files answers a real worker from real files.
type files struct {
	supervisor
	resolver *modules.Resolver
}

func (f *files) Handle(ctx context.Context, call string, body json.RawMessage) (any, error) {
	if call != protocol.CallSource {
		return f.supervisor.Handle(ctx, call, body)
	}
	var in protocol.Source
	if err := protocol.Decode(body, &in); err != nil {
		return nil, err
	}
	return f.resolver.Resolve(in.Path, in.From)
}

const hostile = "../../builtins/testdata/hostile"

// Every hostile script, through a real worker in its real cage: it ends as its
// head says (see builtins/hostile_test.go), and this process outlives it.
func TestHostileScriptsInTheCage(t *testing.T) {
	paths, err := filepath.Glob(hostile + "/*.star")
	if err != nil || len(paths) < 50 {
		t.Fatalf("got %d scripts, %v", len(paths), err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			class, want := classOf(t, path)
			if testing.Short() && class != "error" && class != "ok" {
				t.Skip("takes seconds and memory")
			}
			loaded, death, err := loadCaged(t, exe, path, class)
			var said strings.Builder
			for _, e := range loaded.Errors {
				said.WriteString(e.Error() + "\n")
			}
			switch class {
			case "ok":
				if err != nil || loaded.Experiment == nil {
					t.Errorf("got %v, %s %s", err, said.String(), death)
				}
			case "error":
				if err != nil || !strings.Contains(said.String(), want) {
					t.Errorf("got %v, %s, want %q", err, said.String(), want)
				}
			case "memory":
				if death.Cause != cage.OutOfMemory {
					t.Errorf("got %v, %s, %s, want it out of memory", err, said.String(), death)
				}
			case "stack":
				if death.Cause != cage.StackOverflow && death.Cause != cage.OutOfMemory {
					t.Errorf("got %v, %s, %s, want a stack overflow", err, said.String(), death)
				}
			case "hang":
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, %s, %s, want a hang", err, said.String(), death)
				}
			default:
				t.Errorf("%s: unknown class %q", path, class)
			}
			if death.Cause == cage.Forbidden {
				t.Errorf("the cage killed what should only compute: %s", death.Stderr)
			}
		})
	}
}

func classOf(t *testing.T, path string) (class, want string) {
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(source)) {
		switch key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); key {
		case "# class":
			class = value
		case "# want":
			want = value
		}
	}
	return class, want
}

// loadCaged has a real worker load a script, and ends it.
func loadCaged(t *testing.T, exe, path, class string) (loaded protocol.Loaded, death cage.Death, err error) {
	t.Helper()
	limit := 60 * time.Second
	if class == "hang" { // long past what the others need to load
		limit = 3 * time.Second
	}
	resolver, err := modules.New(path, "../../builtins/testdata", nil)
	if err != nil {
		t.Fatal(err)
	}
	child, err := cage.Start(cage.Options{}, exe, "worker")
	if err != nil {
		t.Skipf("no cage here: %v", err)
	}
	peer := protocol.NewPeer(child.Stdout, child.Stdin, &files{resolver: resolver})
	go func() { _ = peer.Run(context.Background()) }()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err = peer.Call(ctx, protocol.CallLoad, protocol.Load{Script: resolver.Name(), Mode: protocol.CheckOnly, Steps: 50_000_000}, &loaded)
	if errors.Is(err, protocol.ErrClosed) {
		return loaded, child.Wait(), err
	}
	return loaded, child.End(500 * time.Millisecond), err
}

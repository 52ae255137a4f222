// Package enginetest gives tests the real Docker engine and containers to harm
// on it. Nothing is pulled: the image is a static binary, imported.
package enginetest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"

	"chaosrunner/builtins/fault"
)

const (
	imageName = "runner-test:latest"
	label     = "runner.test" // on every container of ours
	labelHash = "runner.test.hash"
)

var engine = sync.OnceValues(func() (*client.Client, error) {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.Ping(ctx); err != nil {
		return nil, err
	}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("these tests must run as root")
	}
	return c, makeImage(ctx, c)
})

// Client is the engine. Without one the test is skipped, in CI it fails.
func Client(t testing.TB) *client.Client {
	t.Helper()
	c, err := engine()
	if err != nil {
		absent(t, fmt.Sprintf("no Docker engine to test with: %v", err))
	}
	return c
}

func absent(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// makeImage imports the target's binary, unless the engine has the same one.
func makeImage(ctx context.Context, c *client.Client) error {
	_, here, _, _ := runtime.Caller(0)
	source := filepath.Join(filepath.Dir(here), "..", "testdata", "target")
	code, err := os.ReadFile(filepath.Join(source, "main.go"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(append(code, runtime.Version()...))
	hash := hex.EncodeToString(sum[:8])
	if seen, err := c.ImageInspect(ctx, imageName); err == nil && seen.Config != nil && seen.Config.Labels[labelHash] == hash {
		return nil
	}
	dir, err := os.MkdirTemp("", "runner-test")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/app", ".")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the target: %w\n%s", err, out)
	}
	app, err := os.ReadFile(dir + "/app")
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(app))}); err != nil {
		return err
	}
	if _, err := w.Write(app); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	said, err := c.ImageImport(ctx, image.ImportSource{Source: &layer, SourceName: "-"}, imageName,
		image.ImportOptions{Changes: []string{`CMD ["/app"]`, "LABEL " + labelHash + "=" + hash}})
	if err != nil {
		return err
	}
	defer said.Close() //nolint:errcheck // read only
	_, err = io.Copy(io.Discard, said)
	return err
}

// Options of a container. The zero value serves /metrics on port 8080, ignores
// SIGTERM, and has opted in.
type Options struct {
	Name    string // else one is made
	Image   string // else our own; one that is not there skips the test, in CI it fails
	Env     []string
	Labels  map[string]string
	Closed  bool // not opted in
	Health  *container.HealthConfig
	Policy  container.RestartPolicyMode
	Publish string // host port for 8080
	Network string // none when empty, if nothing is published
	IP      string
	User    string
	Tmpfs   map[string]string // path → mount options
	Binds   []string          // "/host/path:/path"
	Limits  container.Resources
	Remove  bool // --rm
	NoStart bool
}

// A Container is one of ours; it goes with its test.
type Container struct {
	t    testing.TB
	c    *client.Client
	ID   string
	Name string
}

var serial struct {
	sync.Mutex
	n int
}

// Run makes a container and starts it.
func Run(t testing.TB, o Options) *Container {
	t.Helper()
	c := Client(t)
	if o.Name == "" {
		serial.Lock()
		serial.n++
		o.Name = fmt.Sprintf("runnertest-%d-%d", os.Getpid(), serial.n)
		serial.Unlock()
	}
	if o.Image != "" {
		if _, err := c.ImageInspect(t.Context(), o.Image); err != nil {
			absent(t, fmt.Sprintf("there is no image %s (make shop-up builds it): %v", o.Image, err))
		}
	}
	labels := map[string]string{label: fmt.Sprint(os.Getpid())}
	if !o.Closed {
		labels["chaos.allow"] = "true"
	}
	for k, v := range o.Labels {
		labels[k] = v
	}
	if o.Network == "" && o.Publish == "" {
		o.Network = "none" // three times as fast to make
	}
	host := &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: o.Policy}, AutoRemove: o.Remove, Tmpfs: o.Tmpfs, Binds: o.Binds, Resources: o.Limits, NetworkMode: container.NetworkMode(o.Network)}
	if o.Publish != "" {
		host.PortBindings = nat.PortMap{"8080/tcp": {{HostPort: o.Publish}}}
	}
	var net *network.NetworkingConfig
	if o.IP != "" {
		net = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			o.Network: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: o.IP}},
		}}
	}
	ports := nat.PortSet{"8080/tcp": {}}
	if host.NetworkMode.IsContainer() {
		ports = nil // they are that container's
	}
	made, err := c.ContainerCreate(t.Context(), &container.Config{
		Image: cmp.Or(o.Image, imageName), User: o.User, Env: o.Env, Labels: labels, Healthcheck: o.Health, ExposedPorts: ports,
	}, host, net, nil, o.Name)
	if err != nil {
		t.Fatalf("create %s: %v", o.Name, err)
	}
	k := &Container{t: t, c: c, ID: made.ID, Name: o.Name}
	t.Cleanup(k.Remove)
	if !o.NoStart {
		k.Start()
	}
	return k
}

// Do runs one call on the engine and fails the test if it does not succeed.
func (k *Container) Do(what string, call func(context.Context) error) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := call(ctx); err != nil {
		k.t.Errorf("%s %s: %v", what, k.Name, err)
	}
}

// Start starts it.
func (k *Container) Start() {
	k.t.Helper()
	k.Do("start", func(ctx context.Context) error { return k.c.ContainerStart(ctx, k.ID, container.StartOptions{}) })
}

// Kill kills it as a human would.
func (k *Container) Kill() {
	k.t.Helper()
	k.Do("kill", func(ctx context.Context) error { return k.c.ContainerKill(ctx, k.ID, "SIGKILL") })
}

// Remove removes it, running or not, if it is still there.
func (k *Container) Remove() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := k.c.ContainerRemove(ctx, k.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !strings.Contains(err.Error(), "No such container") && !strings.Contains(err.Error(), "already in progress") {
		k.t.Errorf("remove %s: %v", k.Name, err)
	}
}

// Inspect asks the engine.
func (k *Container) Inspect() container.InspectResponse {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	seen, err := k.c.ContainerInspect(ctx, k.ID)
	if err != nil {
		k.t.Fatalf("inspect %s: %v", k.Name, err)
	}
	return seen
}

// Target is the generation that runs now.
func (k *Container) Target() fault.Target {
	k.t.Helper()
	seen := k.Inspect()
	return fault.Target{Name: k.Name, ID: k.ID, StartedAt: seen.State.StartedAt, PID: seen.State.Pid, Allowed: true}
}

// WaitFor polls the engine until the container's state is as wanted.
func (k *Container) WaitFor(what string, ok func(container.InspectResponse) bool) container.InspectResponse {
	k.t.Helper()
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		seen := k.Inspect()
		if ok(seen) {
			return seen
		}
		if time.Now().After(until) {
			k.t.Fatalf("%s is not %s: %+v", k.Name, what, *seen.State)
		}
	}
}

// WriteFile makes an empty file in the container's root.
func (k *Container) WriteFile(name string) {
	k.t.Helper()
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644}), w.Close()); err != nil {
		k.t.Fatal(err)
	}
	k.Do("copy into", func(ctx context.Context) error {
		return k.c.CopyToContainer(ctx, k.ID, "/", &files, container.CopyToContainerOptions{})
	})
}

// Ready waits until it serves: until then it has no signal handlers either.
func (k *Container) Ready() *Container {
	k.t.Helper()
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		table, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp6", k.Inspect().State.Pid))
		if bytes.Contains(table, []byte(":1F90 ")) {
			return k
		}
		if time.Now().After(until) {
			k.t.Fatalf("%s does not serve", k.Name)
		}
	}
}

// Up says whether it runs and is not paused.
func Up(c container.InspectResponse) bool {
	return c.State.Running && !c.State.Paused && !c.State.Restarting && c.State.Pid > 0
}

// Healthy says whether its health check passes.
func Healthy(c container.InspectResponse) bool {
	return c.State.Health != nil && c.State.Health.Status == container.Healthy
}

// Health is a check by the target's own binary, four times a second.
func Health() *container.HealthConfig {
	return &container.HealthConfig{Test: []string{"CMD", "/app", "health"}, Interval: 250 * time.Millisecond, Timeout: time.Second, Retries: 2}
}

// Network makes a network that goes with the test.
func Network(t testing.TB, subnet string) string {
	t.Helper()
	c := Client(t)
	name := fmt.Sprintf("runnertest-%d-%s", os.Getpid(), strings.NewReplacer(".", "-", "/", "-").Replace(subnet))
	_, err := c.NetworkCreate(t.Context(), name, network.CreateOptions{IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.NetworkRemove(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// Volume makes a volume that goes with the test.
func Volume(t testing.TB, name string) string {
	t.Helper()
	c := Client(t)
	name = fmt.Sprintf("runnertest-%d-%s", os.Getpid(), name)
	_, err := c.VolumeCreate(t.Context(), volume.CreateOptions{Name: name, Labels: map[string]string{label: fmt.Sprint(os.Getpid())}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.VolumeRemove(context.Background(), name, false); err != nil {
			t.Error(err)
		}
	})
	return name
}

// Main runs a package's tests. They wait more than they work, so that more of
// them go at once than there are cores.
func Main(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "6")
	}
	sweep()
	os.Exit(m.Run())
}

// sweep removes what earlier test processes that were killed have left.
func sweep() {
	c, err := engine()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ours := filters.NewArgs(filters.Arg("label", label))
	if left, err := c.VolumeList(ctx, volume.ListOptions{Filters: ours}); err == nil {
		for _, v := range left.Volumes {
			if _, err := os.Stat("/proc/" + v.Labels[label]); os.IsNotExist(err) {
				_ = c.VolumeRemove(ctx, v.Name, false) // the next sweep tries again
			}
		}
	}
	left, err := c.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	if err != nil {
		return
	}
	for _, k := range left {
		if _, err := os.Stat("/proc/" + k.Labels[label]); os.IsNotExist(err) {
			_ = c.ContainerRemove(ctx, k.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}) // the next test says what is wrong
		}
	}
}

// State is what the engine says of a container.
type State = container.InspectResponse

// Service finds the container of a Compose service that runs already; it stays
// when the test ends.
func Service(t testing.TB, project, service string) *Container {
	t.Helper()
	c := Client(t)
	found, err := c.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", "com.docker.compose.project="+project), filters.Arg("label", "com.docker.compose.service="+service))})
	if err != nil || len(found) != 1 {
		t.Fatalf("got %d containers of %s in %s, %v; want one", len(found), service, project, err)
	}
	return &Container{t: t, c: c, ID: found[0].ID, Name: found[0].Names[0][1:]}
}

package place

import (
	"context"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"
)

// An engine answers for each of its containers with one process number after
// the other.
type engine map[string][]int

func (e engine) ContainerList(context.Context, container.ListOptions) (all []container.Summary, err error) {
	for id := range e {
		all = append(all, container.Summary{ID: id})
	}
	return all, nil
}

func (e engine) ContainerInspect(_ context.Context, id string) (container.InspectResponse, error) {
	pid := e[id][0]
	e[id] = e[id][1:]
	return container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{State: &container.State{Pid: pid}}}, nil
}

func (engine) Info(context.Context) (system.Info, error) { return system.Info{Name: "nowhere"}, nil }

// A container that ends while it is looked at says nothing of where the engine
// is: once that sent a run to a helper container beside its own ledgers.
func TestHere(t *testing.T) {
	const gone = 1 << 30 // no process has this number
	for _, c := range []struct {
		name string
		engine
		want bool
	}{
		{"a process that is seen", engine{"::": {1}}, true}, // every cgroup file has these
		{"a process that lives and is not seen", engine{"x": {gone, gone}}, false},
		{"one that ended meanwhile, and one that is seen", engine{"x": {gone, 0}, "::": {1}}, true},
		{"one that was restarted meanwhile, and one that is seen", engine{"x": {gone, gone + 1}, "::": {1}}, true},
		{"none that lives, and another name", engine{"x": {0}}, false},
	} {
		if got, err := here(t.Context(), c.engine); err != nil || got != c.want {
			t.Errorf("%s: got %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

package place

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/system"

	"chaosrunner/runner/agent/ledger"
)

// Ledgers is where agents keep theirs: a folder on the engine's own host, which
// a child there has as well, so that one run at a time has the engine whatever
// its agent is; or a volume, where no such folder outlives the engine.
type Ledgers struct {
	State  string // the folder; of a container an absolute path on the engine's host
	Volume string // its name, instead of a folder
}

// forContainer fills in where a container's agent has its ledgers on this engine.
func (l Ledgers) forContainer(engine system.Info) (Ledgers, error) {
	switch {
	case l.State != "" && l.Volume != "":
		return l, errors.New("agent container: got both --state and --volume, want one place for the ledgers")
	case l.State != "" && (!filepath.IsAbs(l.State) || strings.Contains(l.State, ":")):
		return l, fmt.Errorf("agent container: --state: got %q, want an absolute path on the engine's own host, without a colon; "+
			"a volume is named with --volume", l.State)
	case l.State == "" && l.Volume == "" && volatile(engine):
		l.Volume = DefaultVolume
	case l.State == "" && l.Volume == "":
		l.State = ledger.Default
	}
	return l, nil
}

// volatile says whether the folders of the engine's host are not what they seem:
// a rootless engine may not write where root's ledgers lie, and the host of a
// desktop's engine is made anew with every start.
func volatile(engine system.Info) bool {
	return slices.Contains(engine.SecurityOptions, "name=rootless") || engine.OperatingSystem == "Docker Desktop"
}

// mount puts them where the agent looks: a volume where it looks by itself, a
// folder where everybody else sees it, so that a path in a message is right
// everywhere. The engine makes a folder that is not there.
func (l Ledgers) mount(host *container.HostConfig) {
	if l.Volume != "" {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeVolume, Source: l.Volume, Target: ledger.Default})
		return
	}
	host.Binds = append(host.Binds, l.State+":"+l.State)
}

// flags tell a runner in the container.
func (l Ledgers) flags() []string {
	if l.Volume != "" {
		return nil
	}
	return []string{"--state", l.State}
}

// String names the place.
func (l Ledgers) String() string {
	if l.Volume != "" {
		return "volume:" + l.Volume
	}
	return l.State
}

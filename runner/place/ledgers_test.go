package place

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/system"
)

// A container has its ledgers where a child of root has them, but where such a
// folder is not to be had.
func TestLedgers(t *testing.T) {
	plain := system.Info{OperatingSystem: "Debian GNU/Linux 12 (bookworm)", SecurityOptions: []string{"name=seccomp,profile=default"}}
	rootless := system.Info{SecurityOptions: []string{"name=seccomp,profile=default", "name=rootless"}}
	desktop := system.Info{OperatingSystem: "Docker Desktop"}
	for _, c := range []struct {
		engine system.Info
		asked  Ledgers
		want   string // or what is wrong
	}{
		{plain, Ledgers{}, "/var/lib/runner"},
		{rootless, Ledgers{}, "volume:runner-ledger"},
		{desktop, Ledgers{}, "volume:runner-ledger"},
		{plain, Ledgers{Volume: "mine"}, "volume:mine"},
		{rootless, Ledgers{State: "/srv/runner"}, "/srv/runner"},
		{plain, Ledgers{State: "/srv", Volume: "mine"}, "both --state and --volume"},
		{plain, Ledgers{State: "state"}, "an absolute path on the engine's own host"},
		{plain, Ledgers{State: "/a:b"}, "without a colon"},
	} {
		got, err := c.asked.forContainer(c.engine)
		if err == nil && got.String() != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v on %+v: got %s, %v; want %s", c.asked, c.engine, got, err, c.want)
		}
	}
}

package notation

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"
)

// Signal is a signal's name: "SIGTERM"; "TERM" is understood.
type Signal string

// What a process can be sent to some purpose. SIGSTOP is left out on purpose:
// pause() does that, and knows how to undo it.
var signals = []string{
	"SIGABRT", "SIGALRM", "SIGHUP", "SIGINT", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSEGV", "SIGTERM", "SIGUSR1", "SIGUSR2",
}

// Unpack implements starlark.Unpacker.
func (g *Signal) Unpack(v starlark.Value) error {
	s, ok := v.(starlark.String)
	if !ok {
		return want(v, `a signal such as "SIGKILL"`)
	}
	name := strings.ToUpper(string(s))
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if name == "SIGSTOP" {
		return want(v, "another signal: pause() stops a container's processes, and knows how to let them go on")
	}
	if !slices.Contains(signals, name) {
		return want(v, "one of %s", strings.Join(signals, ", "))
	}
	*g = Signal(name)
	return nil
}

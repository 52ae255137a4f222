//go:build !cgo

package cage

import seccomp "github.com/elastic/go-seccomp-bpf"

// A static binary has no C in it.
var (
	allowedC   []string
	allowedCIf []seccomp.NameWithConditions
)

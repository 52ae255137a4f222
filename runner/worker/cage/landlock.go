package cage

import (
	"errors"
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

const (
	newestABI = 11 // that go-landlock knows
	syncABI   = 8  // from here the kernel restricts all threads at once
	signalABI = 6  // from here signals can be kept inside
)

// threadSignals is the erratum that lets the threads of one process signal
// each other although each has a Landlock domain of its own.
const threadSignals = 1 << (2 - 1)

// restrictPaths allows no path, no TCP or UDP port and no signal to the
// outside, as far as this kernel's Landlock goes.
func restrictPaths(settings) (string, error) {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return "", fmt.Errorf("not offered by this kernel: %w", err)
	}
	if abi < 1 {
		return "", errors.New("not offered by this kernel")
	}
	config, version := landlock.V11, min(abi, newestABI)
	if abi >= signalABI && abi < syncABI && !has(threadSignals) {
		// Restricting thread after thread by signals, as must be done before
		// v8, would hang once the first thread could signal no other.
		config, version = landlock.V5, 5
	}
	if err := config.BestEffort().Restrict(); err != nil {
		return "", err
	}
	return fmt.Sprintf("landlock v%d", version), nil
}

func has(erratum int) bool {
	fixed, err := ll.LandlockGetErrata()
	return err == nil && fixed > 0 && fixed&erratum != 0
}

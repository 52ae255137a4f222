package notation

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"go.starlark.net/starlark"
)

// Share is a share in [0, 1], as Percent is, with nothing allowed: "0%" or 0.0.
type Share float64

// Unpack implements starlark.Unpacker.
func (s *Share) Unpack(v starlark.Value) error {
	x, isFloat := v.(starlark.Float)
	text, isText := v.(starlark.String)
	if isText {
		n, ok := parsePercent(string(text))
		if !ok {
			return want(v, `a share such as "5%%" or 0.05`)
		}
		x, isFloat = starlark.Float(n), true
	}
	if isFloat {
		if math.IsNaN(float64(x)) || x < 0 || x > 1 {
			return want(v, "0%% to 100%% (1.0)")
		}
		*s = Share(x)
		return nil
	}
	return new(Percent).Unpack(v) // which says what is wrong with it
}

// Span is a length of time that may be none: "0s", "400ms".
type Span time.Duration

// Unpack implements starlark.Unpacker.
func (d *Span) Unpack(v starlark.Value) error {
	if s, ok := v.(starlark.String); ok {
		if x, err := time.ParseDuration(string(s)); err == nil && x == 0 && !plainNumber(string(s)) {
			*d = 0
			return nil
		}
	}
	var some Duration
	if err := some.Unpack(v); err != nil {
		return err
	}
	*d = Span(some)
	return nil
}

// Port is a port of TCP or UDP.
type Port uint16

// Unpack implements starlark.Unpacker.
func (p *Port) Unpack(v starlark.Value) error {
	n, err := intIn(v, 1, 65535, "a port such as 8080, from 1 to 65535")
	*p = Port(n)
	return err
}

// Whole is an int between two bounds: set those first.
type Whole struct {
	From, To, Value int64
	Of              string // what is counted: "packets"
}

// Unpack implements starlark.Unpacker.
func (w *Whole) Unpack(v starlark.Value) error {
	n, err := intIn(v, w.From, w.To, fmt.Sprintf("a number%s from %d to %d", counted(w.Of), w.From, w.To))
	if err == nil {
		w.Value = n
	}
	return err
}

func counted(what string) string {
	if what == "" {
		return ""
	}
	return " of " + what
}

func intIn(v starlark.Value, from, to int64, wanted string) (int64, error) {
	i, ok := v.(starlark.Int)
	if !ok {
		return 0, want(v, "%s", wanted)
	}
	n, ok := i.Int64()
	if !ok || n < from || n > to {
		return 0, want(v, "%s", wanted)
	}
	return n, nil
}

// Peers are the other side of a network: target expressions, addresses and
// networks ("10.0.0.0/8", "fd00::1"), or a list of them.
type Peers []string

// Unpack implements starlark.Unpacker.
func (p *Peers) Unpack(v starlark.Value) error {
	all, err := texts(v, `a peer such as "api" or "10.0.0.0/8", or a list of them`, maxTargets)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return want(v, "at least one peer: the list is empty")
	}
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s] {
			return want(starlark.String(s), "each peer once")
		}
		seen[s] = true
		if isAddress(s) {
			continue
		}
		if strings.ContainsAny(s, "/") || strings.Count(s, ":") > 1 {
			return want(starlark.String(s), `an address or a network such as "10.0.0.7", "10.0.0.0/8" or "fd00::/8"`)
		}
		if err := checkTarget(s); err != nil {
			return err
		}
	}
	*p = all
	return nil
}

// isAddress says that a peer is written as an address or a network.
func isAddress(s string) bool {
	_, err := netip.ParsePrefix(s)
	if err != nil {
		_, err = netip.ParseAddr(s)
	}
	return err == nil
}

package netem

import (
	"net/netip"
	"strings"
	"testing"
)

func peers(all ...string) (out []netip.Prefix) {
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestFiltersMeet(t *testing.T) {
	const equal, disjoint, overlap = "equal", "disjoint", "overlap"
	for _, c := range []struct {
		a, b Filter
		want string
	}{
		{Filter{Direction: Out}, Filter{Direction: Out}, equal},
		{Filter{Direction: Out}, Filter{Direction: Out, Share: 1}, equal},
		{Filter{Direction: Out}, Filter{Direction: In}, disjoint},
		{Filter{Direction: Out}, Filter{Direction: Both}, overlap},
		{Filter{Direction: Out}, Filter{Direction: Out, Protocol: "tcp"}, overlap},
		{Filter{Direction: Out, Protocol: "udp"}, Filter{Direction: Out, Protocol: "tcp"}, disjoint},
		{Filter{Direction: Out, Protocol: "icmp"}, Filter{Direction: Out, Port: 80}, disjoint},
		{Filter{Direction: Out, Port: 80}, Filter{Direction: Out, Port: 81}, disjoint},
		{Filter{Direction: Out, Port: 80}, Filter{Direction: Out, PeerPort: 80}, overlap},
		{Filter{Direction: Out, Share: 0.5}, Filter{Direction: Out, Share: 0.5}, equal},
		{Filter{Direction: Out, Share: 0.5}, Filter{Direction: Out, Share: 0.25}, overlap},
		{Filter{Direction: Out, Peers: peers("10.0.0.1/32", "10.0.0.2/32")}, Filter{Direction: Out, Peers: peers("10.0.0.2/32", "10.0.0.1/32")}, equal},
		{Filter{Direction: Out, Peers: peers("10.0.0.1/8")}, Filter{Direction: Out, Peers: peers("10.2.3.4/8")}, equal},
		{Filter{Direction: Out, Peers: peers("10.0.0.0/8")}, Filter{Direction: Out, Peers: peers("10.2.3.4/32")}, overlap},
		{Filter{Direction: Out, Peers: peers("10.0.0.1/32")}, Filter{Direction: Out, Peers: peers("10.0.0.2/32")}, disjoint},
		{Filter{Direction: Out, Peers: peers("10.0.0.1/32")}, Filter{Direction: Out, Peers: peers("fd00::1/128")}, disjoint},
		{Filter{Direction: Out, Peers: peers("10.0.0.1/32")}, Filter{Direction: Out}, overlap},
	} {
		for _, p := range [][2]Filter{{c.a, c.b}, {c.b, c.a}} {
			got := []string{}
			if p[0].Equal(p[1]) {
				got = append(got, equal)
			}
			if p[0].Disjoint(p[1]) {
				got = append(got, disjoint)
			}
			if p[0].Overlaps(p[1]) {
				got = append(got, overlap)
			}
			if len(got) != 1 || got[0] != c.want {
				t.Errorf("%v and %v: got %v, want %s", p[0], p[1], got, c.want)
			}
		}
	}
}

func TestFilterValidate(t *testing.T) {
	for want, f := range map[string]Filter{
		"":                 {Protocol: "tcp", Port: 80, PeerPort: 65535, Share: 0.3, Peers: peers("::/0", "10.0.0.0/8")},
		"direction: got":   {Direction: "up"},
		"protocol: got":    {Protocol: "TCP"},
		"port: got one":    {Protocol: "icmp", PeerPort: 1},
		"traffic: got 200": {Share: 2},
		"peers: got":       {Peers: []netip.Prefix{{}}},
	} {
		err := f.Validate()
		if want == "" && (err != nil || f.Direction != Out) {
			t.Errorf("%+v: got %v", f, err)
		}
		if want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%+v: got %v, want %q", f, err, want)
		}
	}
}

func TestFilterInWords(t *testing.T) {
	f := Filter{Direction: Both, Protocol: "tcp", Port: 8080, PeerPort: 5432, Share: 0.25, Peers: peers("10.0.0.3/32", "fd00::/8")}
	if got, want := f.String(), "all tcp packets of port 8080 to and from 10.0.0.3, fd00::/8 port 5432 of 25% of the flows"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Filter{Direction: Out}).String(); got != "outgoing packets" {
		t.Errorf("got %q", got)
	}
}

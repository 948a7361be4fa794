package dialer

import (
	"net/netip"
	"testing"
)

// targetSeeds are dials and what they mean. They seed the fuzzer too.
var targetSeeds = []struct {
	network, address string
	name             string // to look up
	addr             string // or the literal
	port             uint16
	sets             bool
}{
	{"tcp", "www.example.net:443", "www.example.net", "", 443, false},
	{"tcp", "www.example.net.:https", "www.example.net.", "", 443, false},
	{"tcp4", "www.example.net:http", "www.example.net", "", 80, false},
	{"multipath", "www.example.net:0", "www.example.net", "", 0, true},
	{"tcp", "192.0.2.1:443", "", "192.0.2.1", 443, false},
	{"tcp", "[2001:db8::1]:443", "", "2001:db8::1", 443, false},
	{"tcp6", "[fe80::1%eth0]:443", "", "fe80::1%eth0", 443, false},
	{"tcp4", "[::ffff:192.0.2.1]:443", "", "192.0.2.1", 443, false},
	{"tcp", ":443", "", "127.0.0.1", 443, false},
	{"tcp6", ":443", "", "::1", 443, false},
	{"tcp", "[::]:443", "", "::1", 443, false},
	{"multipath", "0.0.0.0:443", "", "127.0.0.1", 443, true},
}

func TestParseTarget(t *testing.T) {
	for _, tt := range targetSeeds {
		got, err := parseTarget(t.Context(), tt.network, tt.address, MultipathAuto)
		if err != nil {
			t.Errorf("%s %s: %v", tt.network, tt.address, err)
			continue
		}
		if got.name != tt.name || got.port != tt.port || got.sets != tt.sets {
			t.Errorf("%s %s: %+v", tt.network, tt.address, got)
		}
		if literal := tt.addr != ""; literal != (len(got.candidates) == 1) {
			t.Errorf("%s %s: candidates %v", tt.network, tt.address, got.candidates)
		} else if literal && got.candidates[0] != netip.AddrPortFrom(netip.MustParseAddr(tt.addr), tt.port) {
			t.Errorf("%s %s: %v, want %s", tt.network, tt.address, got.candidates[0], tt.addr)
		}
	}
}

// FuzzParseTarget: what is accepted is a name or one address that the network
// allows, never an unspecified one.
func FuzzParseTarget(f *testing.F) {
	for _, s := range targetSeeds {
		f.Add(s.network, s.address)
	}
	if len(targetSeeds) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, network, address string) {
		got, err := parseTarget(t.Context(), network, address, MultipathAuto)
		if err != nil {
			return
		}
		if (got.name == "") != (len(got.candidates) == 1) {
			t.Fatalf("name %q and candidates %v", got.name, got.candidates)
		}
		for _, c := range got.candidates {
			if a := c.Addr(); !got.family.allows(a) || a.IsUnspecified() || a.Is4In6() || c.Port() != got.port {
				t.Fatalf("%s %q: %v", network, address, c)
			}
		}
	})
}

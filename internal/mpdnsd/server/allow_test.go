package server

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestAllowedProperties: the table agrees with looking at each prefix.
func TestAllowedProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{198, 51, rapid.Byte().Draw(t, "third"), rapid.Byte().Draw(t, "fourth")})
		})
		prefixes := rapid.SliceOf(rapid.Custom(func(t *rapid.T) netip.Prefix {
			return netip.PrefixFrom(addr.Draw(t, "prefix"), rapid.IntRange(16, 32).Draw(t, "bits")).Masked()
		})).Draw(t, "prefixes")
		client, want := addr.Draw(t, "client"), false
		for _, p := range prefixes {
			want = want || p.Contains(client)
		}
		if got := newAllowed(prefixes).has(client, netip.MustParseAddr("203.0.113.1")); got != want {
			t.Errorf("%v: %v: %v, want %v", prefixes, client, got, want)
		}
	})
}

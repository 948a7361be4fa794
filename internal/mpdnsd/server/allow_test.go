package server

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestAllowed: this machine always, others by prefix.
func TestAllowed(t *testing.T) {
	some := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for _, tt := range []struct {
		prefixes      []netip.Prefix
		client, asked string
		want          bool
	}{
		{nil, "127.0.0.1", "127.0.0.1", true},
		{nil, "::1", "::1", true},
		{nil, "::ffff:127.0.0.9", "127.0.0.1", true},
		{nil, "203.0.113.7", "203.0.113.7", true},
		{nil, "fe80::1%eth0", "fe80::1", true},
		{nil, "203.0.113.7", "203.0.113.8", false},
		{nil, "192.0.2.1", "203.0.113.8", false},
		{some, "127.0.0.1", "127.0.0.1", true},
		{some, "192.0.2.1", "203.0.113.8", true},
		{some, "::ffff:192.0.2.1", "203.0.113.8", true},
		{some, "192.0.3.1", "203.0.113.8", false},
		{some, "2001:db8:ffff::1", "2001:db9::1", true},
		{some, "2001:db9::1", "2001:db9::2", false},
	} {
		if got := newAllowed(tt.prefixes).has(netip.MustParseAddr(tt.client), netip.MustParseAddr(tt.asked)); got != tt.want {
			t.Errorf("%v: client %s asking at %s: %v, want %v", tt.prefixes, tt.client, tt.asked, got, tt.want)
		}
	}
}

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

package resolver

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// rfc6052 are the examples of RFC 6052 section 2.4, and an address under the
// Well-Known Prefix.
var rfc6052 = []struct{ prefix, v4, v6 string }{
	{"2001:db8::/32", "192.0.2.33", "2001:db8:c000:221::"},
	{"2001:db8:100::/40", "192.0.2.33", "2001:db8:1c0:2:21::"},
	{"2001:db8:122::/48", "192.0.2.33", "2001:db8:122:c000:2:2100::"},
	{"2001:db8:122:300::/56", "192.0.2.33", "2001:db8:122:3c0:0:221::"},
	{"2001:db8:122:344::/64", "192.0.2.33", "2001:db8:122:344:c0:2:2100::"},
	{"2001:db8:122:344::/96", "192.0.2.33", "2001:db8:122:344::192.0.2.33"},
	{"64:ff9b::/96", "192.0.2.33", "64:ff9b::192.0.2.33"},
}

func TestEmbedAndExtract(t *testing.T) {
	for _, tc := range rfc6052 {
		p, v4, v6 := netip.MustParsePrefix(tc.prefix), netip.MustParseAddr(tc.v4), netip.MustParseAddr(tc.v6)
		if err := checkNAT64(p); err != nil {
			t.Error(err)
		}
		if got := embed(p, v4); got != v6 {
			t.Errorf("%s under %s is %s, want %s", v4, p, got, v6)
		}
		if got, ok := extract(p, v6); !ok || got != v4 {
			t.Errorf("%s under %s holds %s %v, want %s", v6, p, got, ok, v4)
		}
	}
}

func TestExtractFromOthers(t *testing.T) {
	tests := map[string]struct{ prefix, addr string }{
		"another prefix": {"64:ff9b::/96", "64:ff9b:1::192.0.2.33"},
		"bits 64 to 71":  {"2001:db8::/32", "2001:db8:c000:221:100::"},
		"IPv4":           {"64:ff9b::/96", "192.0.2.33"},
	}
	for name, tc := range tests {
		if got, ok := extract(netip.MustParsePrefix(tc.prefix), netip.MustParseAddr(tc.addr)); ok {
			t.Errorf("%s: %s holds %s", name, tc.addr, got)
		}
	}
	// The suffix is reserved: it does not matter.
	if got, ok := extract(netip.MustParsePrefix("2001:db8::/32"), netip.MustParseAddr("2001:db8:c000:221::ff")); !ok || got != netip.MustParseAddr("192.0.2.33") {
		t.Errorf("with a suffix: %s %v", got, ok)
	}
}

func TestCheckNAT64(t *testing.T) {
	for _, bad := range []string{"192.0.2.0/24", "::ffff:192.0.2.0/96", "2001:db8::/33", "2001:db8::/128", "2001:db8::1/64", "2001:db8:0:0:100::/96"} {
		if checkNAT64(netip.MustParsePrefix(bad)) == nil {
			t.Errorf("%s is taken for a NAT64 prefix", bad)
		}
	}
	if checkNAT64(netip.Prefix{}) == nil {
		t.Error("no prefix is taken for one")
	}
}

func TestMayEmbed(t *testing.T) {
	own := netip.MustParsePrefix("2001:db8:64::/96")
	tests := []struct {
		prefix netip.Prefix
		addr   string
		want   bool
	}{
		{wellKnownNAT64, "192.0.2.1", true},
		{wellKnownNAT64, "10.0.0.1", false},
		{own, "10.0.0.1", true},
		{own, "127.0.0.1", false},
		{own, "169.254.1.1", false},
		{own, "224.0.0.1", false},
		{own, "0.0.0.0", false},
		{own, "2001:db8::1", false},
	}
	for _, tc := range tests {
		if got := mayEmbed(tc.prefix, netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("%s under %s: %v, want %v", tc.addr, tc.prefix, got, tc.want)
		}
	}
}

func TestPrefixesIn(t *testing.T) {
	tests := map[string]struct{ aaaa, want []string }{
		"none":       {nil, nil},
		"not NAT64":  {[]string{"2001:db8::1", "::ffff:192.0.0.170"}, nil},
		"well known": {[]string{"64:ff9b::192.0.0.170", "64:ff9b::192.0.0.171"}, []string{"64:ff9b::/96"}},
		"one of two": {[]string{"64:ff9b::192.0.0.171"}, []string{"64:ff9b::/96"}},
		"two NAT64": {
			[]string{"2001:db8:64::192.0.0.170", "64:ff9b::192.0.0.170", "2001:db8:64::192.0.0.171", "64:ff9b::192.0.0.171"},
			[]string{"2001:db8:64::/96", "64:ff9b::/96"},
		},
		// 192.0.0.170 stands at /32 and at /96.
		"ambiguous, told apart": {
			[]string{"2001:db8:c000:aa::c000:aa", "2001:db8:c000:aa::c000:ab"},
			[]string{"2001:db8:c000:aa::/96"},
		},
		"a suffix": {[]string{"2001:db8:c000:aa::1"}, nil},
	}
	for name, tc := range tests {
		var aaaa []netip.Addr
		for _, a := range tc.aaaa {
			aaaa = append(aaaa, netip.MustParseAddr(a))
		}
		var got []string
		for _, p := range prefixesIn(aaaa) {
			got = append(got, p.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

// TestNAT64Properties: what is embedded comes out again, and any prefix is
// found by what it makes of the well-known addresses.
func TestNAT64Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		octets := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "prefix")
		octets[0], octets[zeroOctet] = 0x20, 0
		p := netip.PrefixFrom(netip.AddrFrom16([16]byte(octets)), rapid.SampledFrom(nat64Lengths[:]).Draw(t, "bits")).Masked()
		if err := checkNAT64(p); err != nil {
			t.Fatal(err)
		}
		v4 := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		if got, ok := extract(p, embed(p, v4)); !ok || got != v4 {
			t.Fatalf("%s under %s came back as %s", v4, p, got)
		}
		if got := prefixesIn([]netip.Addr{embed(p, wellKnownIPv4Only[0]), embed(p, wellKnownIPv4Only[1])}); !slices.Contains(got, p) {
			t.Fatalf("found %v, want %s", got, p)
		}
	})
}

// FuzzExtract: what comes out of an address goes back into its place, whatever
// the address; and a prefix that is found holds a well-known address.
func FuzzExtract(f *testing.F) {
	for _, tc := range rfc6052 {
		v6 := netip.MustParseAddr(tc.v6).As16()
		if v4, ok := extract(netip.MustParsePrefix(tc.prefix), netip.AddrFrom16(v6)); !ok || v4.String() != tc.v4 {
			f.Fatalf("seed %s holds %s", tc.v6, v4)
		}
		f.Add(v6[:], uint8(netip.MustParsePrefix(tc.prefix).Bits()))
	}
	f.Fuzz(func(t *testing.T, b []byte, bits uint8) {
		if len(b) != 16 {
			return
		}
		a := netip.AddrFrom16([16]byte(b))
		for _, p := range prefixesIn([]netip.Addr{a}) {
			if v4, ok := extract(p, a); !ok || !slices.Contains(wellKnownIPv4Only[:], v4) {
				t.Errorf("%s: found %s, which holds %s", a, p, v4)
			}
		}
		p, err := a.Prefix(int(bits))
		if err != nil || checkNAT64(p) != nil {
			return
		}
		v4, ok := extract(p, a)
		if ok != (b[zeroOctet] == 0) {
			t.Fatalf("%s under %s: %v", a, p, ok)
		}
		if !ok {
			return
		}
		if again, _ := extract(p, embed(p, v4)); again != v4 {
			t.Fatalf("%s holds %s, and that became %s", a, v4, again)
		}
	})
}

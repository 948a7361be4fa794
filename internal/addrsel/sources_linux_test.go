package addrsel

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const ifInet6Text = `fe8000000000000000fc00fffe000001 04 40 20 80     eth0
20010db800010000a00000fffe000002 04 40 00 01     eth0
20010db800020000a00000fffe000002 04 30 00 a0     eth0
20010db800030000a00000fffe000002 1a 80 00 10   sit1
00000000000000000000000000000001 01 80 10 80       lo
`

func TestParseIfInet6(t *testing.T) {
	want := []ifInet6Line{
		{Source{Addr: netip.MustParseAddr("fe80::fc:ff:fe00:1%eth0"), Prefix: 64, Interface: 4}, "eth0"},
		{Source{Addr: netip.MustParseAddr("2001:db8:1:0:a000:ff:fe00:2"), Prefix: 64, Interface: 4, Temporary: true}, "eth0"},
		{Source{Addr: netip.MustParseAddr("2001:db8:2:0:a000:ff:fe00:2"), Prefix: 48, Interface: 4, Deprecated: true}, "eth0"},
		{Source{Addr: netip.MustParseAddr("2001:db8:3:0:a000:ff:fe00:2"), Prefix: 128, Interface: 26, Home: true}, "sit1"},
		{Source{Addr: netip.IPv6Loopback(), Prefix: 128, Interface: 1}, "lo"},
	}
	if got := parseIfInet6(strings.NewReader(ifInet6Text)); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func FuzzParseIfInet6(f *testing.F) {
	if n := len(parseIfInet6(strings.NewReader(ifInet6Text))); n != 5 {
		f.Fatalf("seed gives %d lines", n)
	}
	f.Add(ifInet6Text)
	f.Add("00 01 02 03 04 lo\n")
	f.Add("zz000000000000000000000000000001 01 80 10 80 lo\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines := parseIfInet6(strings.NewReader(text))
		if len(lines) > strings.Count(text, "\n")+1 {
			t.Errorf("%d addresses in %d lines", len(lines), strings.Count(text, "\n")+1)
		}
		for _, l := range lines {
			if !l.source.Addr.Is6() || l.source.Prefix < 0 || l.source.Prefix > 128 || l.source.Interface < 0 {
				t.Errorf("%+v", l)
			}
		}
	})
}

// The kernel's own list is understood: each address it shows has a prefix.
func TestLocalAddrs(t *testing.T) {
	for a, s := range localAddrs() {
		if s.Prefix == 0 && !a.IsUnspecified() {
			t.Errorf("%s: no prefix", a)
		}
	}
	if isTunnel("lo") || isTunnel("no such interface") {
		t.Error("lo is taken for a tunnel")
	}
}

func TestIsTunnelType(t *testing.T) {
	for hardware, want := range map[string]bool{
		"776\n": true, "768\n": true, "772\n": false, "1\n": false, "": false, "x": false,
	} {
		if got := isTunnelType(hardware); got != want {
			t.Errorf("%q: %v", hardware, got)
		}
	}
}

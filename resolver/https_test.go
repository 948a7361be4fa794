package resolver_test

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

// TestHTTPS: the records of RFC 9460, asked beside A and AAAA.
func TestHTTPS(t *testing.T) {
	r, _ := over(t, dnstest.Zone(
		`www.example. 60 IN HTTPS 1 . alpn="h2,h3" port=8443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1 ech="AAAA"`,
		`www.example. 60 IN HTTPS 2 alt.example. alpn="h3" no-default-alpn`,
		`www.example. 60 IN HTTPS 0 alias.example.`,
		"www.example. 60 IN A 192.0.2.1",
	))
	r.HTTPS, r.WaitAll = true, true
	a, err := r.Lookup(t.Context(), "www.example")
	if err != nil || len(a.Families) != 3 || a.Families[0].Type != "HTTPS" {
		t.Fatalf("got %+v, %v", a, err)
	}
	want := []resolver.Service{
		{
			Priority: 1, Target: "www.example.", ALPN: []string{"h2", "h3", "http/1.1"}, Port: 8443, ECH: []byte{0, 0, 0},
			Hints: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")},
		},
		{Priority: 2, Target: "alt.example.", ALPN: []string{"h3"}},
		{Priority: 0, Target: "alias.example."},
	}
	if d := cmp.Diff(want, a.Families[0].Services, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
}

// TestHTTPSNeverAnswered: it holds nothing back.
func TestHTTPSNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(typed("HTTPS", drop, dual())))
		r.HTTPS = true
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwBoth) || took != resolver.DefaultResolutionDelay {
			t.Errorf("got %v, %v after %v", set(a), err, took)
		}
	})
}

package resolver_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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
	}
	if d := cmp.Diff(want, a.Families[0].Services, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
}

// TestHTTPSAliasMode: followed like a CNAME, from reply to reply and bounded; it
// is for HTTPS alone (RFC 9460 sections 2.4.2, 2.5.1, 3).
func TestHTTPSAliasMode(t *testing.T) {
	records := []string{
		"www.example. 60 IN A 192.0.2.1",
		`www.example. 60 IN HTTPS 0 pool.example.`,
		`www.example. 60 IN HTTPS 1 . alpn="h2"`, // of no account beside AliasMode
		"pool.example. 30 IN CNAME other.example.",
		`other.example. 60 IN HTTPS 0 end.example.`,
		`end.example. 60 IN HTTPS 1 . alpn="h3" no-default-alpn`,
		"none.example. 60 IN A 192.0.2.2",
		`none.example. 60 IN HTTPS 0 .`,
		"loop.example. 60 IN A 192.0.2.3",
		`loop.example. 60 IN HTTPS 0 back.example.`,
		`back.example. 60 IN HTTPS 0 loop.example.`,
		"far.example. 60 IN A 192.0.2.4",
		`far.example. 60 IN HTTPS 0 a0.example.`,
	}
	for i := range 2 * resolver.MaxAliases {
		records = append(records, fmt.Sprintf("a%d.example. 60 IN HTTPS 0 a%d.example.", i, i+1))
	}
	tests := map[string]struct {
		chain  []string
		target string
		err    error
	}{
		"www.example.":  {[]string{"pool.example.", "other.example.", "end.example."}, "end.example.", nil},
		"none.example.": {nil, "", resolver.ErrNoData},
		"loop.example.": {nil, "", resolver.ErrAliasLoop},
		"far.example.":  {nil, "", resolver.ErrAliasLoop},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, n := virtual(t, "", onServer(dnstest.Zone(records...)))
			r.Servers, r.HTTPS, r.WaitAll = []string{serverAddr}, true, true
			a, err := r.Lookup(t.Context(), name)
			if err != nil || a.Record.Len() != 1 || a.Canonical != name {
				t.Fatalf("got %+v, %v; want the A record at least", a, err)
			}
			f := a.Families[0]
			if !errors.Is(f.Err, tc.err) {
				t.Errorf("got %v, want %v", f.Err, tc.err)
			}
			if tc.chain != nil && !slices.Equal(f.Chain, tc.chain) {
				t.Errorf("chain %v, want %v", f.Chain, tc.chain)
			}
			if tc.target != "" && (len(f.Services) != 1 || f.Services[0].Target != tc.target || f.TTL != 30*time.Second) {
				t.Errorf("services %+v, ttl %v", f.Services, f.TTL)
			}
			if got := n.Server(serverAddr).Count("", "HTTPS"); got > resolver.MaxAliases+1 {
				t.Errorf("%d queries", got)
			}
		})
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

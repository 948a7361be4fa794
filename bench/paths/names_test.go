package main

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/af-multipath/mpresolve/resolver"
)

// TestNameServer: both families, one without an answer, and a name that is not.
func TestNameServer(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	s, err := serveNames(map[string][]netip.Addr{"both.example.": {v6, v4}, "one.example.": {v6}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	r := &resolver.Resolver{Servers: []string{s.addr()}, NoHosts: true, NoSearch: true}
	defer r.Close()
	for _, tt := range []struct {
		name string
		want []netip.Addr
	}{
		{"both.example.", []netip.Addr{v4, v6}},
		{"one.example.", []netip.Addr{v6}},
		{"none.example.", nil},
	} {
		got, err := r.LookupNetIP(t.Context(), "ip", tt.name)
		slices.SortFunc(got, netip.Addr.Compare)
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("%s: %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}
